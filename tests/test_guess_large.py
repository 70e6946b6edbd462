"""A guess of a set whose images are too large for a whole read: from headers and windows, in flat memory."""

from pathlib import Path

import numpy as np
import pytest

from layout_sets import picture, runs, save
from segfold.importing.guess import guess, pictures
from segfold.importing.guess.headers import read_header
from segfold.importing.guess.runs import edges
from segfold.layouts import large
from tiff_files import DEFLATE, write_tiff

SHAPE = (60, 80)


def made_set(root: Path, write: object) -> None:
    rng = np.random.default_rng(0)
    lines = []
    (root / "train").mkdir(parents=True)
    for number in range(6):
        pixels = picture(rng, SHAPE)
        write(root / f"train/{number:02d}", pixels)  # type: ignore[operator]
        mask = np.zeros(SHAPE, np.uint8)
        mask[10 + number : 40, 20:50] = 1
        lines.append(f"{number:02d},{runs(mask, 'row')}")
    (root / "train.csv").write_text("id,encoding\n" + "\n".join(lines) + "\n")


@pytest.fixture
def no_whole_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 10_000)
    monkeypatch.setattr(pictures, "_WINDOW", 16)
    monkeypatch.setattr(pictures, "read_image", lambda *_, **__: pytest.fail("read whole"))


@pytest.mark.parametrize(
    "write, said",
    [
        (lambda path, image: write_tiff(path.with_suffix(".tif"), image, tile=(16, 16)), "6 are read by windows from tiled TIFF"),
        (
            lambda path, image: write_tiff(path.with_suffix(".tif"), image, rows=8, compression=DEFLATE),
            "6 are copied strip by strip into the cache",
        ),
        (lambda path, image: save(path.with_suffix(".png"), image), "6 are decoded whole once into the cache"),
    ],
    ids=["tiles", "strips", "png"],
)  # fmt: skip
@pytest.mark.usefixtures("no_whole_read")
def test_what_a_guess_says(tmp_path: Path, write: object, said: str) -> None:
    made_set(tmp_path, write)
    lines = " ".join(guess(tmp_path).replace("\n#", " ").split())
    assert "6 files were read: 60×80 (height×width), 3×uint8 (6)" in lines
    assert f"6 are too large for a whole read (the largest: 60×80, 14.4 kB decoded): {said}" in lines
    assert "set input.crop (input.crop=1024, say)" in lines
    assert "rle_order: row" in lines  # found without a mask of the size of an image


def test_small_images_are_not_called_large(tmp_path: Path) -> None:
    made_set(tmp_path, lambda path, image: write_tiff(path.with_suffix(".tif"), image, tile=(16, 16)))
    assert "too large" not in guess(tmp_path)


def test_headers(tmp_path: Path) -> None:
    """Of what is decoded only a tile, or nothing at all: the files end behind their headers."""
    rgb = picture(np.random.default_rng(0), SHAPE)
    for name, pixels, kind in (
        ("a.png", rgb, (*SHAPE, 3, "uint8")),
        ("b.bmp", rgb[:, :, 0], (*SHAPE, 1, "uint8")),
        ("c.png", rgb[:, :, 0].astype(np.uint16), (*SHAPE, 1, "uint16")),
    ):
        save(tmp_path / name, pixels)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        found = read_header(tmp_path / name)
        assert found is not None and tuple(found)[:4] == kind and found.windows is None
        assert found.large is None
    for pages in (False, True):
        found = read_header(write_tiff(tmp_path / "d.tif", rgb.astype(np.uint16), tile=(16, 16), pages=pages))
        assert found is not None and tuple(found)[:4] == (*SHAPE, 3, "uint16") and found.windows is not None
        assert found.size == rgb.size * 2
    (tmp_path / "e.png").write_bytes(b"x")
    assert read_header(tmp_path / "e.png") is None


def test_edges_of_runs_equal_those_of_the_mask() -> None:
    """Counted pixel by pixel; runs that touch are one."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = (rng.random(rng.integers(1, 9, 2)) < rng.random()).astype(np.uint8)
        expected = int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
        for order in ("row", "column"):
            flat = (mask if order == "row" else mask.T).reshape(-1)
            change = np.diff(np.concatenate([[0], flat, [0]]).astype(int))
            found = np.stack([np.flatnonzero(change == 1), np.flatnonzero(change == -1)], axis=1)
            pixels = np.flatnonzero(flat)
            for each in (found, np.stack([pixels, pixels + 1], axis=1)):
                assert edges(each, mask.shape, order) == expected  # type: ignore[arg-type]
