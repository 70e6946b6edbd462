"""Sets with images that are too large for a whole read: read in place or strip by strip, mixed with others."""

import json
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from layout_sets import competition, picture, save
from segfold.competition import Competition
from segfold.data import cache, images
from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet, load_split
from segfold.errors import SegfoldError
from segfold.importing.check import data_problems
from segfold.layouts import ahead, large, windows
from segfold.layouts.kinds import Kind, Seen
from tiff_files import DEFLATE, write_tiff

SIZE = (70, 90)
IMAGES = "images/{id}.tif"


def made_set(root: Path, **pictures: np.ndarray) -> Callable[..., Competition]:
    """Writes each image as a tiled TIFF if its name begins with t, in strips if with s, with deflate in one strip if
    with w; and their masks."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        segments = {"t": {"tile": (16, 32)}, "s": {"rows": 8}, "w": {"compression": DEFLATE}}[name[0]]
        write_tiff(root / f"images/{name}.tif", pixels, **segments)  # type: ignore[arg-type]
        save(root / f"masks/{name}.png", np.where(pixels[:, :, 0] > 128, 255, 0).astype(np.uint8))
    return lambda **options: competition(
        "folders", train_images=IMAGES, train_masks="masks/{id}.png", test_images=None, **options
    )


def home_of(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path, tmp_path / "data/set"


def loaded(
    home: Path, made: Competition, most: int, monkeypatch: pytest.MonkeyPatch, said: list[str] | None = None
) -> ImageSet:
    """With images of more than so many bytes called large."""
    monkeypatch.setattr(large, "LARGE", most)
    return load_split(made, "train", home, say=[].append if said is None else said.append)


@pytest.fixture
def pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {name: picture(rng, SIZE) for name in ("s0", "t0", "w0")}
    made["t1"] = picture(rng, (30, 20))
    made["t2"] = np.full((*SIZE, 3), 9, np.uint8)
    return made


def test_the_same_set_however_it_is_read(
    tmp_path: Path, pictures: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, root = home_of(tmp_path)
    made = made_set(root, **pictures)()
    monkeypatch.setattr(windows, "_MOST_SEGMENT", 5000)
    whole = loaded(home, made, 1 << 28, monkeypatch)
    (folder,) = (root / "cache").iterdir()
    index = json.loads((folder / "index.json").read_bytes())
    assert "in_place" not in index and index["notes"] == []
    (folder / "index.json").unlink()
    mixed = loaded(home, made, 10_000, monkeypatch, said := [])
    again = json.loads((folder / "index.json").read_bytes())
    assert again.pop("in_place") == {"t0": "images/t0.tif", "t2": "images/t2.tif"}
    size = SIZE[0] * SIZE[1] * 3
    assert again["files"].pop("images.bin") == index["files"].pop("images.bin") - 2 * size
    (note,) = again.pop("notes")
    assert note.startswith(
        "4 are too large for a whole read (the largest: 70×90, 18.9 kB decoded): 2 are read by windows"
    )
    assert "1 is copied strip by strip" in note and "1 is decoded whole once" in note and "input.crop=" in note
    assert said[1:] == [f"train images: {note}"]
    index.pop("notes")
    assert again == index  # the fingerprint too
    assert again["constant"] == [False, False, False, True, False]
    for row, name in enumerate(sorted(pictures)):
        for store in (mixed.images, pickle.loads(pickle.dumps(mixed.images))):
            np.testing.assert_array_equal(store[row], pictures[name])
        np.testing.assert_array_equal(mixed.images[row], whole.images[row])
        np.testing.assert_array_equal(mixed.masks[row], whole.masks[row])  # type: ignore[index]


def test_windows_of_a_store(tmp_path: Path, pictures: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    home, root = home_of(tmp_path)
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    data = loaded(home, made_set(root, **pictures)(), 10_000, monkeypatch)
    for row, name in enumerate(sorted(pictures)):
        pixels, reader = pictures[name], data.images.reader(row)
        assert (reader.shape, reader.dtype) == (pixels.shape, pixels.dtype)
        for window in (Window(0, 0, *pixels.shape[:2]), Window(7, 3, 20, 15), Window(29, 19, 1, 1)):
            np.testing.assert_array_equal(data.images.window(row, window), pixels[window.slices])
            np.testing.assert_array_equal(reader.window(window), pixels[window.slices])
        np.testing.assert_array_equal(data.masks.window(row, window), pixels[window.slices][:, :, 0] > 128)  # type: ignore[union-attr]
        beyond = Window(-5, -5, 20, 40)
        np.testing.assert_array_equal(cut(reader, beyond), cut(pixels, beyond))
        with pytest.raises(ValueError, match="reaches beyond"):
            data.images.window(row, beyond)
    with pytest.raises(IndexError):
        data.images.reader(5)


def test_only_images_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flat file is empty, which cannot be mapped."""
    home, root = home_of(tmp_path)
    pixels = picture(np.random.default_rng(0), SIZE)
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    data = loaded(home, made_set(root, t0=pixels)(), 0, monkeypatch)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data.images))[0], pixels)
    assert data.images.dtype == np.uint8


@pytest.mark.parametrize("opaque", [True, False])
def test_kinds_become_one(tmp_path: Path, opaque: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alpha is left out, and grey becomes RGB, per window; one image with real alpha among others is refused."""
    home, root = home_of(tmp_path)
    rng = np.random.default_rng(0)
    alpha = picture(rng, SIZE, 4)
    alpha[:, :, 3] = 255
    if not opaque:
        alpha[69, 89, 3] = 254  # in the last band
    monkeypatch.setattr(windows, "_BAND_BYTES", 1)
    kinds = {"t0": alpha, "t1": picture(rng, SIZE, 1), "s1": picture(rng, SIZE, 1), "w1": picture(rng, SIZE)}
    made = made_set(root, **kinds)()
    if not opaque:
        with pytest.raises(SegfoldError, match=r"t0\.tif is 4×uint8, most images are 3×uint8"):
            loaded(home, made, 0, monkeypatch)
        assert data_problems(made, home) == ["images/t0.tif: 4×uint8, most images are 3×uint8"]
        return
    data = loaded(home, made, 0, monkeypatch)
    assert data_problems(made, home) == []
    for row, name in enumerate(sorted(kinds)):
        expected = np.broadcast_to(kinds[name][:, :, :3], (*SIZE, 3))
        np.testing.assert_array_equal(data.images[row], expected)
        np.testing.assert_array_equal(data.images.window(row, Window(5, 20, 30, 40)), expected[5:35, 20:60])
    (folder,) = (root / "cache").iterdir()
    (folder / "index.json").unlink()
    assert loaded(home, made, 1 << 28, monkeypatch).fingerprint == data.fingerprint


def test_containers_have_one_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels in place, in strips, whole, and in other tiles."""
    pixels = picture(np.random.default_rng(0), SIZE)
    found = set()
    for i, options in enumerate(
        ({"tile": (16, 32)}, {"tile": (64, 16), "order": ">"}, {"rows": 8}, {"compression": 8})
    ):
        home, root = home_of(tmp_path / str(i))
        made = made_set(root, t0=pixels)()
        write_tiff(root / "images/t0.tif", pixels, **options)  # type: ignore[arg-type]
        found.add(loaded(home, made, 0, monkeypatch).fingerprint)
    assert len(found) == 1


@pytest.mark.parametrize("name", ["t0", "s0"])
def test_a_large_image_is_never_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither import's check nor the cache hold it; its mask, of which there is one byte a pixel, they do."""
    home, root = home_of(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (1024, 512, 12)).astype(np.uint16)
    made = made_set(root)()
    segments = {"tile": (64, 64)} if name == "t0" else {"rows": 16}
    write_tiff(root / f"images/{name}.tif", pixels, planar=True, **segments)  # type: ignore[arg-type]
    save(root / f"masks/{name}.png", np.zeros((1024, 512), np.uint8))
    monkeypatch.setattr(windows, "_BAND_BYTES", 1)
    monkeypatch.setattr(windows, "KEPT_BYTES", 1 << 18)
    monkeypatch.setattr(ahead, "AHEAD_BYTES", 1 << 18)
    monkeypatch.setattr(large, "LARGE", 1 << 20)
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    monkeypatch.setattr(cache, "image_of", lambda *_: pytest.fail("read whole"))
    monkeypatch.setattr("segfold.importing.check.image_of", lambda *_: pytest.fail("read whole"))
    size = pixels.nbytes
    del pixels
    tracemalloc.start()
    try:
        assert data_problems(made, home) == []
        data = load_split(made, "train", home)
        data.images.window(0, Window(500, 100, 64, 64))
        assert tracemalloc.get_traced_memory()[1] < size / 3
    finally:
        tracemalloc.stop()
    assert data.images.shapes.tolist() == [[1024, 512, 12]]


def test_damage_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is imported, when the cache is made, and in a window of a file that was damaged since."""
    home, root = home_of(tmp_path)
    pixels = picture(np.random.default_rng(0), SIZE)
    made = made_set(root, t0=pixels)()
    file = root / "images/t0.tif"
    data = loaded(home, made, 0, monkeypatch)
    sound = file.read_bytes()
    windows._tiles.forget()
    file.write_bytes(sound[:-5000])  # of the last tiles; places and sizes stand behind them
    with pytest.raises(SegfoldError, match=r"t0\.tif, its tile of rows \d+…\d+, .*copy the file anew") as said:
        data.images[0]
    assert "\n" not in str(said.value)
    file.write_bytes(sound.replace(sound[8:100], b"", 1))  # all that follows lies elsewhere
    for problem in data_problems(made, home):
        assert "images/t0.tif" in problem
    assert len(data_problems(made, home)) == 1
    with pytest.raises(SegfoldError, match=r"t0\.tif"):
        load_split(made, "train", home)


def test_what_is_seen_band_by_band() -> None:
    """As of the whole image."""
    rng = np.random.default_rng(0)
    rgba = picture(rng, (12, 5), 4)
    for image, opaque, constant in (
        (rgba, False, False),
        (np.concatenate([rgba[:, :, :3], np.full((12, 5, 1), 7, np.uint8)], axis=2), True, False),
        (np.full((12, 5, 3), 4, np.uint16), False, True),
        (np.isin(np.arange(12), [5]).astype(np.uint8)[:, None, None].repeat(5, axis=1), False, False),
        (np.eye(12, 5, dtype=np.uint8)[:, :, None], False, False),
    ):
        for rows in (1, 5, 12):
            seen = Seen()
            for top in range(0, 12, rows):
                seen.add(image[top : top + rows])
            assert seen.kind == Kind(image.shape[2], str(image.dtype), opaque, int(image[:, :, :3].max()))
            assert (seen.size, seen.constant) == ((12, 5), constant)
