"""Images and masks in files of all kinds: bands, arrays, DICOM, GIF, a file a class or an object, colours."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from layout_sets import PALETTE, competition, picture, save
from segfold.competition import Competition
from segfold.data.images import ImageSet, load_split
from segfold.data.source import find_source
from segfold.errors import SegfoldError
from segfold.importing.check import data_problems
from segfold.layouts.decode import read_image

SHAPE = (9, 7)
CLASSES = ("sky", "road", "tree")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "set"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def load(root: Path, made: Competition) -> ImageSet:
    assert data_problems(made, root.parents[1]) == []
    return load_split(made, "train", root.parents[1])


def refused(root: Path, made: Competition, file: str) -> str:
    """What the check says, and loading too: one line that names the file."""
    (problem,) = data_problems(made, root.parents[1])
    with pytest.raises(SegfoldError, match=file) as caught:
        load_split(made, "train", root.parents[1])
    assert problem.startswith(file) and "\n" not in problem and problem in str(caught.value).replace(f"{root}/", "")
    return problem


# Images


def test_bands_in_files_of_their_own_are_channels(root: Path, rng: np.random.Generator) -> None:
    wanted = {name: rng.integers(0, 65536, (*SHAPE, 5)).astype(np.uint16) for name in "ab"}
    for name, image in wanted.items():
        for band in range(3):
            save(root / f"train/{name}/band_{band}.npy", image[:, :, band])
        save(root / f"train/{name}/rest.npy", image[:, :, 3:])
        save(root / f"train/{name}/mask.npy", (image[:, :, :1] > 40000).astype(np.int32))
    bands = [*(f"train/{{id}}/band_{band}.npy" for band in range(3)), "train/{id}/rest.npy"]
    made = competition("folders", train_images=bands, train_masks="train/{id}/mask.npy", test_images=None)
    data = load(root, made)
    assert data.masks is not None
    for row, name in enumerate("ab"):
        np.testing.assert_array_equal(data.images[row], wanted[name])
        np.testing.assert_array_equal(data.masks[row], wanted[name][:, :, 0] > 40000)
    swapped = load(root, competition("folders", train_images=bands[::-1], train_masks="train/{id}/mask.npy"))
    np.testing.assert_array_equal(swapped.images[0][:, :, 2:], wanted["a"][:, :, 2::-1])
    save(root / "train/a/band_1.npy", np.zeros((2, 2), np.uint16))
    assert "train/a/band_1.npy is 2×2 of uint16, band_0.npy is 9×7 of uint16" in refused(
        root, made, "train/a/band_1.npy"
    )
    (root / "train/a/band_1.npy").unlink()
    assert data_problems(made, root.parents[1]) == [
        "train/a/band_1.npy: missing, other bands of its image are there",
        "train/a/mask.npy: no image with this id",
    ]


def test_floats_need_black_and_white_and_frames_an_index(root: Path, rng: np.random.Generator) -> None:
    kelvin = rng.uniform(170, 340, (*SHAPE, 4)).astype(np.float32)
    kelvin[0, 0] = np.nan
    save(root / "train/a.npy", kelvin)
    save(root / "masks/a.png", np.ones(SHAPE, np.uint8))
    places = {"train_images": "train/{id}.npy", "train_masks": "masks/{id}.png", "test_images": None}
    low, high = np.nanmin(kelvin), np.nanmax(kelvin)
    said = refused(root, competition("folders", **places), "train/a.npy")
    assert f"holds float32 values, {low:g} to {high:g}" in said and "set values: [black, white]" in said
    for frame in (0, 3):
        made = competition("folders", **places, frame=frame, values=[180, 330])
        found = load(root, made).images[0]
        wanted = (np.clip((kelvin[:, :, frame].astype(np.float64) - 180) / 150, 0, 1) * 65535)[:, :, None]
        assert found.dtype == np.uint16 and found.shape == (*SHAPE, 1) and found[0, 0, 0] == 0
        assert np.abs(found.astype(float) - wanted)[1:].max() <= 1
    assert "expected more than 4 frames" in refused(root, competition("folders", **places, frame=4), "train/a.npy")
    with pytest.raises(ValueError, match="expected black below white"):
        competition("folders", values=[3, 3])


def test_channels_in_front_and_pages_of_a_tiff(tmp_path: Path, rng: np.random.Generator) -> None:
    image = picture(rng, (11, 17), 3)
    save(tmp_path / "a.npy", image.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), image)
    for count in (2, 3, 4, 7):
        pages = [rng.integers(0, 65536, (11, 17)).astype(np.uint16) for _ in range(count)]
        assert cv2.imwritemulti(str(tmp_path / "a.tiff"), pages)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tiff"), np.dstack(pages))


def dicom(path: Path, pixels: np.ndarray, photometric: str, bits: int) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ExplicitVRLittleEndian,
        CTImageStorage,
        "1.2.3",
    )
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PixelRepresentation = 1, int(pixels.dtype == np.int16)
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.itemsize, bits, bits - 1
    data.PhotometricInterpretation, data.PixelData = photometric, pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_dicom(root: Path, rng: np.random.Generator) -> None:
    eight, twelve = rng.integers(0, 256, SHAPE).astype(np.uint8), rng.integers(0, 4096, SHAPE).astype(np.uint16)
    dicom(root / "train/1.2/3.4/a.dcm", eight, "MONOCHROME2", 8)
    dicom(root / "train/1.2/3.5/b.dcm", eight, "MONOCHROME1", 8)
    for name in "ab":
        save(root / f"masks/{name}.png", np.ones(SHAPE, np.uint8))
    made = competition("folders", train_images="train/{*}/{*}/{id}.dcm", train_masks="masks/{id}.png")
    data = load(root, made)
    np.testing.assert_array_equal(data.images[0][:, :, 0], eight)
    np.testing.assert_array_equal(data.images[1][:, :, 0], 255 - eight)  # the file says that white is low
    dicom(root / "a.dcm", twelve, "MONOCHROME1", 12)
    np.testing.assert_array_equal(read_image(root / "a.dcm")[:, :, 0], 4095 - twelve)
    assert read_image(root / "a.dcm", white=4095).max() > 60000
    dicom(root / "a.dcm", twelve.astype(np.int16) - 1000, "MONOCHROME2", 16)
    with pytest.raises(SegfoldError, match=r"holds int16 values, -\d+ to \d+: .* set values"):
        read_image(root / "a.dcm")
    (root / "a.dcm").write_bytes(b"hello")
    with pytest.raises(SegfoldError, match=r"a\.dcm cannot be decoded"):
        read_image(root / "a.dcm")


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: b"", lambda data: b"x" * 200])
def test_a_damaged_array(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    np.save(tmp_path / "a.npy", np.arange(60, dtype=np.uint8).reshape(6, 10))
    (tmp_path / "a.npy").write_bytes(spoil((tmp_path / "a.npy").read_bytes()))
    with pytest.raises(SegfoldError, match=r"a\.npy"):
        read_image(tmp_path / "a.npy")
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)  # code, were it read
    with pytest.raises(SegfoldError, match=r"o\.npy cannot be decoded"):
        read_image(tmp_path / "o.npy")


# Masks


@pytest.mark.parametrize("suffix", ["gif", "png", "bmp"])
def test_masks_of_one_bit_or_a_palette(root: Path, rng: np.random.Generator, suffix: str) -> None:
    truth = rng.random(SHAPE) < 0.4
    save(root / "train/images/a.png", picture(rng))
    path = root / f"train/masks/a_mask.{suffix}"
    path.parent.mkdir(parents=True)
    Image.fromarray(truth).convert("P" if suffix == "gif" else "1").save(path)
    data = load(root, competition("folders", train_masks=f"train/masks/{{id}}_mask.{suffix}"))
    assert data.masks is not None
    np.testing.assert_array_equal(data.masks[0], truth)


def test_masks_beside_their_images(root: Path, rng: np.random.Generator) -> None:
    truth = rng.random(SHAPE) < 0.4
    for name in ("a", "b (2)"):
        save(root / f"all/{name}.png", picture(rng))
        save(root / f"all/{name}_mask.png", truth.astype(np.uint8) * 255)
    made = competition("folders", train_images="all/{id}.png", train_masks="all/{id}_mask.png")
    assert list(load(root, made).ids) == ["a", "b (2)"]


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_file_a_class(root: Path, rng: np.random.Generator, task: str) -> None:
    truth = rng.random((3, *SHAPE)) < 0.4
    save(root / "train/images/a.png", picture(rng))
    for c in (0, 2):  # a file that is not there is an empty mask
        save(root / f"masks/{CLASSES[c]}/a.png", truth[c].astype(np.uint8) * 255)
    truth[1] = False
    background = 0 if task == "multiclass" else None
    made = competition("folders", task, CLASSES, train_masks="masks/{class}/{id}.png", background=background)
    data = load(root, made)
    assert data.masks is not None and data.instances is None
    wanted = truth[0] + 4 * truth[2] if background is None else 2 * truth[2]
    np.testing.assert_array_equal(data.masks[0], wanted)


def test_a_file_an_object(root: Path, rng: np.random.Generator) -> None:
    objects = {name: rng.random((3, *SHAPE)) < 0.2 for name in "ab"}
    for name, masks in objects.items():
        save(root / f"train/{name}/images/{name}.png", np.dstack([picture(rng), np.full(SHAPE, 255, np.uint8)]))
        for number, mask in enumerate(masks):
            save(root / f"train/{name}/masks/{number}f3.png", mask.astype(np.uint8) * 255)
    made = competition(
        "folders", train_images="train/{id}/images/{id}.png", train_masks="train/{id}/masks/{*}.png", test_images=None
    )
    data = load(root, made)
    assert data.masks is not None and data.instances is not None
    for row, name in enumerate("ab"):
        np.testing.assert_array_equal(data.masks[row], objects[name].any(axis=0))
        wanted = np.zeros(SHAPE, int)
        for number, mask in enumerate(objects[name]):
            wanted[mask] = number + 1
        np.testing.assert_array_equal(data.instances[row], wanted)
        assert data.images[row].shape[2] == 3
    (root / "train/b/masks/0f3.png").unlink()  # a cache that lacks an object is none
    assert load(root, made).fingerprint != data.fingerprint
    save(root / "train/b/masks/1f3.png", np.zeros((2, 2), np.uint8))
    assert "train/b/masks/1f3.png: 2×2, its image is 9×7" in data_problems(made, root.parents[1])


def test_class_indices_grey_and_in_a_palette(root: Path, rng: np.random.Generator) -> None:
    truth = rng.integers(0, 3, SHAPE).astype(np.uint8)
    truth[0, :2] = 99
    for name, palette in (("a", None), ("b", PALETTE)):
        save(root / f"train/images/{name}.png", picture(rng))
        save(root / f"train/masks/{name}.png", truth, palette)
    data = load(root, competition("folders", "multiclass", CLASSES, void=99))
    assert data.masks is not None and data.areas is not None
    for row in (0, 1):
        np.testing.assert_array_equal(data.masks[row], np.where(truth == 99, 255, truth))
    assert data.areas.tolist() == [[int((truth == c).sum()) for c in range(3)]] * 2
    said = sorted(data_problems(competition("folders", "multiclass", CLASSES), root.parents[1]))
    assert len(said) == 2 and said[0].startswith("train/masks/a.png holds class index 99: expected 0 to 2")


COLOURS = {"sky": [10, 20, 30], "road": [10, 20, 31], "tree": [0, 0, 0], "void": [255, 255, 255]}


def test_colours_that_are_classes(root: Path, rng: np.random.Generator) -> None:
    truth = rng.integers(0, 4, SHAPE)
    save(root / "train/images/a.png", picture(rng))
    save(root / "train/masks/a.png", np.array(list(COLOURS.values()), np.uint8)[truth])
    said = refused(root, competition("folders", "multiclass", CLASSES), "train/masks/a.png")
    assert "is an RGB picture of colours [0, 0, 0], [10, 20, 30]" in said and "set mask_colours: " in said
    data = load(root, competition("folders", "multiclass", CLASSES, mask_colours=COLOURS))
    assert data.masks is not None
    np.testing.assert_array_equal(data.masks[0], np.where(truth == 3, 255, truth))
    three = {name: COLOURS[name] for name in CLASSES}
    said = refused(root, competition("folders", "multiclass", CLASSES, mask_colours=three), "train/masks/a.png")
    assert "has colours [255, 255, 255] that mask_colours does not name" in said
    labels = load(root, competition("folders", "multilabel", CLASSES, mask_colours=three))
    assert labels.masks is not None
    np.testing.assert_array_equal(labels.masks[0], np.where(truth == 3, 0, 1 << truth))
    with pytest.raises(ValueError, match="mask_colours names raod"):
        competition("folders", "multiclass", CLASSES, mask_colours={"raod": [1, 2, 3]})


def test_images_without_a_mask_file(root: Path, rng: np.random.Generator) -> None:
    for name in "ab":
        save(root / f"train/images/{name}.png", picture(rng))
    save(root / "train/masks/a.png", np.ones(SHAPE, np.uint8))
    said = data_problems(competition("folders"), root.parents[1])
    assert said == ["train/masks/b.png: missing, its image is there"]
    empty = load(root, competition("folders", unlisted="empty"))
    assert list(empty.ids) == ["a", "b"] and list(empty.coverage) == [1, 0]
    assert list(load(root, competition("folders", unlisted="skip")).ids) == ["a"]
    with pytest.raises(SegfoldError, match="image b has no mask, and no class is background"):
        load_split(competition("folders", "multiclass", CLASSES, unlisted="empty"), "train", root.parents[1])


def test_what_changes_how_files_are_read_has_a_cache_of_its_own(root: Path, rng: np.random.Generator) -> None:
    save(root / "train/images/a.png", picture(rng))
    save(root / "train/masks/a.png", rng.integers(0, 3, SHAPE).astype(np.uint8))
    base = competition("folders", "multiclass", CLASSES)
    changes = (
        {"void": 7},
        {"frame": 0},
        {"values": (0.0, 9.0)},
        {"mask_colours": COLOURS},
        {"mask_palette": "colours"},
        {"background": 1},
        {"unlisted": "empty"},
        {"train_masks": "train/masks/{id}{*}"},
        {"classes": (*CLASSES, "car")},
        {"task_name": "multilabel"},
    )
    made = [base, *(base.model_copy(update=change) for change in changes)]
    assert len({find_source(each, "train", root).key for each in made}) == len(made)
    assert find_source(base, "train", root).key == find_source(base.model_copy(), "train", root).key
