"""A zip of palette PNGs, as Pillow reads it; each fault of one is one line."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segfold.errors import SegfoldError
from segfold.submission.check import check_submission, submission_problems
from segfold.submission.findings import Findings
from segfold.submission.pictures import voc_colours
from segfold.submission.write import manifest_path, write_submission
from submission_forms import IDS, ROOFS, SHAPES, STREETS, competition, random_masks

# As Pascal VOC's development kit lists them: background, aeroplane, bicycle, … tvmonitor, and void.
PUBLISHED = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    5: (128, 0, 128),
    6: (0, 128, 128),
    7: (128, 128, 128),
    8: (64, 0, 0),
    15: (192, 128, 128),
    16: (0, 64, 0),
    20: (0, 64, 128),
    255: (224, 224, 192),
}


def write(path: Path, given=STREETS, masks=None, **changes) -> Path:
    masks = random_masks(given) if masks is None else masks
    check: Callable[[Path], list[str]] = lambda file: submission_problems(file, given, SHAPES)
    write_submission(path, masks.items(), given, list(IDS), changes.pop("check", check), {})
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def png(pixels: np.ndarray, mode: str | None = None, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette(bytes(768))
    elif mode:
        image = image.convert(mode)
    image.save(data, kind)
    return data.getvalue()


def test_colours_are_voc_s() -> None:
    colours = voc_colours()
    assert {index: tuple(colours[index].tolist()) for index in PUBLISHED} == PUBLISHED
    assert len({tuple(colour) for colour in colours.tolist()}) == 256


@pytest.mark.parametrize("given", [STREETS, ROOFS], ids=["multiclass", "binary"])
def test_pictures_are_the_masks(tmp_path: Path, given) -> None:
    masks = random_masks(given, seed=3)
    path = write(tmp_path / "s.zip", given, masks)
    assert list(members(path)) == sorted(f"{name}.png" for name in IDS)
    for name, data in members(path).items():
        image = Image.open(io.BytesIO(data))
        mask = masks[name.removesuffix(".png")]
        assert (image.format, image.mode) == ("PNG", "P")
        np.testing.assert_array_equal(np.asarray(image), mask)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), voc_colours()[mask])
    manifest = write_submission(path, masks.items(), given, IDS, lambda file: [], {}).manifest
    assert manifest["zip"] == "s.zip" and manifest_path(path).name == "s.json" and manifest["images"] == 3


def test_the_same_masks_are_the_same_bytes(tmp_path: Path) -> None:
    masks = random_masks(STREETS)
    first = write(tmp_path / "a.zip", masks=masks).read_bytes()
    assert write(tmp_path / "b.zip", masks=dict(reversed(masks.items()))).read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_another_size_than_the_image_s(tmp_path: Path) -> None:
    given = competition("multiclass", ("sky", "road", "car"), submission={"form": "png", "size": (12, 14)})
    masks = {"b": random_masks(given)["b"]}
    write_submission(
        tmp_path / "s.zip",
        masks.items(),
        given,
        ["b"],
        lambda file: submission_problems(file, given, {"b": (6, 7)}),
        {},
    )
    image = Image.open(io.BytesIO(members(tmp_path / "s.zip")["b.png"]))
    np.testing.assert_array_equal(np.asarray(image), masks["b"].repeat(2, axis=0).repeat(2, axis=1))


def test_what_fails_the_check_leaves_nothing_behind(tmp_path: Path) -> None:
    masks = random_masks(STREETS)
    masks["b"][0, 0] = 255  # a pixel without a class
    with pytest.raises(SegfoldError, match=r"fails the check: mask of b\.png: 1 pixels of values up to 255"):
        write(tmp_path / "s.zip", masks=masks)
    assert list(tmp_path.iterdir()) == []


B = (6, 7)
CASES = {
    "missing": (lambda files: files.pop("b.png"), ["missing 1 file: b.png"]),
    "surplus": (lambda files: files.update({"c.png": b"x"}), ["1 file: c.png not of the test set"]),
    "in a folder": (
        lambda files: files.update({"out/b.png": files.pop("b.png")}),
        ["1 file: out/b.png in a folder: put *", "missing 1 file: b.png", "1 file: out/b.png not of the test set"],
    ),
    "size": (
        lambda files: files.update({"b.png": png(np.zeros((7, 6), np.uint8), "P")}),
        ["mask of b.png: 7×6, expected 6×7"],
    ),
    "grey": (
        lambda files: files.update({"b.png": png(np.zeros(B, np.uint8))}),
        ["mask of b.png: a PNG of mode L, expected a palette (mode P)"],
    ),
    "RGB": (
        lambda files: files.update({"b.png": png(np.zeros((*B, 3), np.uint8))}),
        ["mask of b.png: a PNG of mode RGB, expected a palette (mode P)"],
    ),
    "beyond C": (
        lambda files: files.update({"b.png": png(np.full(B, 3, np.uint8), "P")}),
        ["mask of b.png: 42 pixels of values up to 3, expected the classes 0 to 2"],
    ),
    "no PNG": (
        lambda files: files.update({"b.png": png(np.zeros(B, np.uint8), "P", "GIF")}),
        ["mask of b.png: a file of GIF, expected PNG"],
    ),
    "no picture": (
        lambda files: files.update({"b.png": b"nothing"}),
        ["mask of b.png: cannot be read: it is no picture"],
    ),
    "half a picture": (
        lambda files: files.update({"b.png": files["b.png"][:-30]}),
        ["mask of b.png: cannot be read: *"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_one_line(tmp_path: Path, name: str) -> None:
    change, expected = CASES[name]
    files = members(write(tmp_path / "s.zip"))
    change(files)
    found = check_submission(pack(tmp_path / "t.zip", files), STREETS, SHAPES)
    assert found.remarks == [] and len(found.problems) == len(expected)
    for line, pattern in zip(found.problems, expected):
        head, star, _ = pattern.partition("*")
        assert line.splitlines() == [line] and line.startswith(head) and (star or line == pattern), line


def test_doubled_and_damaged_members(tmp_path: Path) -> None:
    path = write(tmp_path / "s.zip")
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.png", members(path)["b.png"])
    assert check_submission(path, STREETS, SHAPES).problems == ["more than once 1 file: b.png"]
    path = write(tmp_path / "t.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 255
    path.write_bytes(data)
    (line,) = check_submission(path, STREETS, SHAPES).problems
    assert line.startswith("mask of 00123.png: cannot be read: ") and line.splitlines() == [line]


def test_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "s.zip").write_text("id,rle_mask\n")
    assert check_submission(tmp_path / "s.zip", STREETS, SHAPES) == Findings(
        ["not a zip (File is not a zip file), expected one of a PNG an image"], []
    )
    with pytest.raises(SegfoldError, match="no file"):
        check_submission(tmp_path / "none.zip", STREETS, SHAPES)


def test_a_folder_is_looked_at_like_a_zip_of_it(tmp_path: Path) -> None:
    for name, data in members(write(tmp_path / "s.zip")).items():
        (tmp_path / "maps").mkdir(exist_ok=True)
        (tmp_path / "maps" / name).write_bytes(data)
    (tmp_path / "maps" / ".hidden").touch()
    assert check_submission(tmp_path / "maps", STREETS, SHAPES) == Findings([], [])
    (tmp_path / "maps" / "b.png").unlink()
    assert check_submission(tmp_path / "maps", STREETS, SHAPES).problems == ["missing 1 file: b.png"]
