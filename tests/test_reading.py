"""How image and mask files are read where files alone do not say it: EXIF orientation, the value of white, mask files
with other values than 0 and white."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from segfold.competition import Competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.importing.check import data_problems
from segfold.layouts.decode import read_image, read_mask
from tiny_competition import TINY, TRAIN_IDS, brute_force_rle, write_image, write_tiny

ORIENTATION = 0x112


def write_oriented(path: Path, pixels: np.ndarray, orientation: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x10F] = "maker"
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {"quality": 100}
    Image.fromarray(pixels).save(path, file_format, exif=exif, **options)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_as_pillow_turns_it(tmp_path: Path, file_format: str) -> None:
    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8), (0, 0), 3)
    path = tmp_path / "a"
    for orientation in range(1, 9):
        write_oriented(path, pixels, orientation, file_format)
        with Image.open(path) as image:
            # Pillow turns a TIFF as it reads it.
            shown = np.asarray(image if file_format == "TIFF" else ImageOps.exif_transpose(image)).astype(int)
        assert np.abs(read_image(path, exif="turn") - shown).max() <= 1
        assert np.abs(read_mask(path, exif="turn", threshold=100) != (shown.max(axis=2) > 100)).mean() < 0.1
        if file_format == "JPEG":
            with Image.open(path) as image:
                stored = np.asarray(image).astype(int)
        else:
            stored = pixels.astype(int)
        assert np.abs(read_image(path, exif="ignore") - stored).max() <= 1
        if orientation == 1:
            assert np.abs(read_image(path) - shown).max() <= 1
        else:
            with pytest.raises(SegfoldError, match=rf"12×20 with EXIF orientation {orientation}, [^\n]*$"):
                read_image(path)


@pytest.mark.parametrize(("fits", "other"), [("turn", "ignore"), ("ignore", "turn")])
def test_masks_say_which_way_of_turning_fits(tmp_path: Path, fits: str, other: str) -> None:
    root = tmp_path / "data" / "tiny"
    pictures, masks = write_tiny(root)
    name = "0b"
    image = pictures[name]  # 8×7, as its mask
    stored = np.rot90(image) if fits == "turn" else image  # orientation 6 is to be turned the other way
    write_oriented(root / "train" / "images" / f"{name}.png", np.ascontiguousarray(stored), 6, "PNG")
    (problem,) = data_problems(TINY, tmp_path)
    assert problem.startswith(f"train/images/{name}.png is stored as ") and "EXIF orientation 6" in problem
    assert problem.endswith(f"(its mask is 8×7, which is exif: {fits})")
    with pytest.raises(SegfoldError, match=r"0b\.png [^\n]* EXIF"):
        load_split(TINY, "train", tmp_path)
    right, wrong = (TINY.model_copy(update={"exif": chosen}) for chosen in (fits, other))
    assert data_problems(right, tmp_path) == []
    data = load_split(right, "train", tmp_path)
    assert data.masks is not None
    np.testing.assert_array_equal(data.images[int(data.position([name])[0])], image)
    np.testing.assert_array_equal(data.masks[int(data.position([name])[0])], masks[name])
    with pytest.raises(SegfoldError, match=r"0b\.png is 8×7, its image is 7×8"):
        load_split(wrong, "train", tmp_path)


def test_white_brings_values_to_the_full_range(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "a.png"
    for dtype, white in ((np.uint16, 4095), (np.uint8, 1), (np.uint16, 65535), (np.uint16, 1000)):
        values = rng.integers(0, white + 1, (9, 11, 4)).astype(dtype)
        values[0, 0], values[..., 3] = white, 7
        cv2.imwrite(str(path), values)
        top = np.iinfo(dtype).max
        found = read_image(path, white=white)
        assert found.dtype == dtype and (found[..., 3] == 7).all() and (found[0, 0, :3] == top).all()
        expected = values[..., [2, 1, 0]].astype(np.float64) * top / white
        assert np.abs(found[..., :3] - expected).max() <= 0.5
    with pytest.raises(SegfoldError, match=r"a\.png holds uint16 values up to 1000, the competition's white is 999: "):
        read_image(path, white=999)
    cv2.imwrite(str(path), np.zeros((3, 3), np.uint8))
    with pytest.raises(SegfoldError, match=r"a\.png holds uint8 values up to 0, the competition's white is 4095: "):
        read_image(path, white=4095)


def write_masks(root: Path, masks: dict[str, np.ndarray], competition: Competition, save) -> None:
    shutil.rmtree(root / "train" / "masks")
    (root / "train" / "masks").mkdir()
    for name, mask in masks.items():
        save(root / "train" / "masks" / f"{name}{competition.layout.mask_suffix}", mask)


def blocks(shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[16:40, 8:48] = 1
    return mask


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A tiny competition whose images are large enough for masks that a JPEG changes."""
    root = tmp_path / "data" / "tiny"
    write_tiny(root)
    rng, masks = np.random.default_rng(0), {}
    for name in TRAIN_IDS:
        masks[name] = blocks((64, 56)) if name != "a7" else np.zeros((64, 56), np.uint8)
        write_image(root / "train" / "images" / f"{name}.png", rng.integers(0, 256, (64, 56, 3), np.uint8))
    lines = [f"{name},{brute_force_rle(mask)}" for name, mask in masks.items()]
    (root / "train.csv").write_text("\n".join(["id,rle_mask", *lines]) + "\n")
    return tmp_path, masks


def save_jpeg(path: Path, mask: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 9, mask.shape)
    Image.fromarray((mask * 240 + noise).astype(np.uint8)).save(path, "JPEG", quality=80)


def save_antialiased(path: Path, mask: np.ndarray) -> None:
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1)
    # Where the mask ends, the blurred edge crosses one half.
    cv2.imwrite(str(path), np.rint(255 * soft).astype(np.uint8))


@pytest.mark.parametrize(("save", "suffix"), [(save_jpeg, ".jpg"), (save_antialiased, ".png")])
def test_a_threshold_that_fits_is_named_and_taken(large, save, suffix: str) -> None:
    home, masks = large
    competition = TINY.model_copy(update={"mask_suffix": suffix})
    write_masks(home / "data" / "tiny", masks, competition, save)
    problems = data_problems(competition, home)
    filled = [name for name in masks if masks[name].any()]
    for name in filled:
        (problem,) = (line for line in problems if f"/{name}{suffix}: " in line)
        file = home / f"data/tiny/train/masks/{name}{suffix}"
        wrong = int((read_mask(file) != masks[name]).sum())
        assert f"differs from its RLE in train.csv at {wrong} pixels; " in problem
        assert "its values are 0, " in problem and " in all): with mask_threshold: " in problem and "\n" not in problem
    threshold = int(problem.split("mask_threshold: ")[1].split()[0])
    values = cv2.imread(str(home / f"data/tiny/train/masks/{filled[-1]}{suffix}"), cv2.IMREAD_GRAYSCALE)
    inside = masks[filled[-1]] > 0
    least, most = values[~inside].max(), values[inside].min() - 1
    assert threshold == (int(least) + int(most)) // 2 and f"(any from {least} to {most} would do)" in problem
    right = competition.model_copy(update={"mask_threshold": threshold})
    assert data_problems(right, home) == []
    data = load_split(right, "train", home)
    assert data.masks is not None
    for name, found in zip(data.ids, data.masks):
        np.testing.assert_array_equal(found, masks[name])
    with_zero = load_split(competition, "train", home)  # the other threshold has a cache of its own
    assert with_zero.fingerprint != data.fingerprint


def save_palette(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray(mask, "L").convert("P")
    image.putpalette([255, 20, 30, 90, 255, 255])
    image.save(path)


def test_a_palette_with_a_coloured_zero_is_explained_and_read(large) -> None:
    home, masks = large
    write_masks(home / "data" / "tiny", masks, TINY, save_palette)
    problems = data_problems(TINY, home)
    assert len(problems) == len(masks)
    assert all("with mask_palette: indices in the competition file it is the same" in line for line in problems)
    right = TINY.model_copy(update={"mask_palette": "indices"})
    assert data_problems(right, home) == []
    data = load_split(right, "train", home)
    assert data.masks is not None
    for name, found in zip(data.ids, data.masks):
        np.testing.assert_array_equal(found, masks[name])


def test_masks_that_no_setting_makes_the_same_say_how_near_one_comes(large) -> None:
    home, masks = large
    mask = masks["0b"] * 200
    mask[:2, :3] = 255
    write_image(home / "data/tiny/train/masks/0b.png", mask)
    for name in set(masks) - {"0b"}:
        write_image(
            home / f"data/tiny/train/masks/{name}.png", masks[name] if name != "a7" else 1 + 254 * blocks((64, 56))
        )
    problems = sorted(data_problems(TINY, home))
    assert problems[0].endswith(
        "its values are 0, 200, 255 (3 in all); no mask_threshold makes it the same, 0 comes nearest with 6 wrong"
    )
    assert problems[1].endswith("its values are 1, 255 (2 in all); its RLE is empty")
    assert len(problems) == 2
