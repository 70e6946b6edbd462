"""Every problem of a data folder is found, all at once, by file name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segfold.data.images import load_split
from segfold.importing.check import data_problems
from segfold.importing.kaggle import import_data
from segfold.layouts.decode import read_image, read_mask
from tiny_competition import TINY, write_image, write_tiny


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "data" / "tiny")
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip_pixel(path: Path) -> None:
    mask = read_mask(path)
    mask[0, 0] ^= 1
    write_image(path, mask)


def make_deep(path: Path) -> None:
    write_image(path, read_image(path).astype(np.uint16) * 257)


CASES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda root: None, []),
    "corrupt train image": (
        lambda root: truncate(root / "train/images/0b.png"),
        ["train/images/0b.png is damaged"],
    ),
    "corrupt test image": (
        lambda root: truncate(root / "test/images/zz.png"),
        ["test/images/zz.png is damaged"],
    ),
    "corrupt mask": (lambda root: truncate(root / "train/masks/0b.png"), ["train/masks/0b.png is damaged"]),
    "mask of another size": (
        lambda root: write_image(root / "train/masks/0b.png", np.zeros((2, 3), np.uint8)),
        ["train/masks/0b.png: 2×3, its image is 8×7"],
    ),
    "mask missing": (lambda root: (root / "train/masks/0b.png").unlink(), ["train/masks/0b.png: missing"]),
    "mask without an image": (
        lambda root: shutil.copy(root / "train/masks/0b.png", root / "train/masks/new.png"),
        ["train/masks/new.png: no image"],
    ),
    "mask differs from its RLE": (
        lambda root: flip_pixel(root / "train/masks/0b.png"),
        ["train/masks/0b.png: differs from its RLE in train.csv at 1 pixels"],
    ),
    "bad RLE": (lambda root: edit(root / "train.csv", "a7,", "a7,3"), ["train.csv: a7: 1 numbers"]),
    "line without an image": (
        lambda root: edit(root / "train.csv", "a7,", "a8,\na7,"),
        ["train/images/a8.png: missing, train.csv has it"],
    ),
    "image without a line": (
        lambda root: edit(root / "train.csv", "a7,\n", ""),
        ["train/images/a7.png: no line in train.csv"],
    ),
    "id changed by a number parser": (
        lambda root: edit(root / "train.csv", "00123,", "123,"),
        ["train/images/00123.png: no line in train.csv", "train/images/123.png: missing, train.csv has it"],
    ),
    "doubled id": (
        lambda root: edit(root / "train.csv", "a7,", "a7,\na7,"),
        ["train.csv has id a7 more than once"],
    ),
    "test image missing": (
        lambda root: (root / "test/images/zz.png").unlink(),
        ["test/images/zz.png: missing, sample_submission.csv has it"],
    ),
    "images of two kinds": (
        lambda root: make_deep(root / "test/images/zz.png"),
        ["test/images/zz.png: 3×uint16, most images are 3×uint8"],
    ),
    "depth missing": (lambda root: edit(root / "depths.csv", "zz,57", ""), ["depths.csv: no line for zz"]),
    "depth is no number": (
        lambda root: edit(root / "depths.csv", "zz,57", "zz,nan"),
        ["depths.csv: zz has no number in column z"],
    ),
    "no train table": (lambda root: (root / "train.csv").unlink(), ["no table train.csv"]),
    "no sample submission": (
        lambda root: (root / "sample_submission.csv").unlink(),
        ["no table sample_submission.csv"],
    ),
    "no test images": (lambda root: shutil.rmtree(root / "test"), ["test/images: no such folder"]),
    "empty train images": (
        lambda root: [path.unlink() for path in (root / "train/images").iterdir()],
        ["train/images: no .png files"],
    ),
    "masks as RLE only": (lambda root: shutil.rmtree(root / "train/masks"), []),
}


def with_suffix(root: Path, *files: str) -> None:
    """The ids of some tables as those write them who take the file's name for the id."""
    for file in files:
        header, *lines = (root / file).read_text().splitlines()
        (root / file).write_text("\n".join([header, *(line.replace(",", ".png,", 1) for line in lines)]) + "\n")


TABLES = ("train.csv", "sample_submission.csv", "depths.csv")


@pytest.mark.parametrize("file", TABLES)
def test_ids_with_the_suffix_are_one_line(home: Path, file: str) -> None:
    with_suffix(home / "data" / "tiny", file)
    (problem,) = data_problems(TINY, home)
    assert problem.startswith(f"{file}: ") and "set image_suffix: ''" in problem and "\n" not in problem


def test_beside_the_suffix_other_ids_are_named(home: Path) -> None:
    root = home / "data" / "tiny"
    with_suffix(root, "train.csv")
    edit(root / "train.csv", "a7.png,", "a8.png,")
    hint, *others = data_problems(TINY, home)
    assert "00123.png, 0b.png, 1e1000.png, … (4 in all)" in hint
    assert others == ["train/images/a7.png: no line in train.csv", "train/images/a8.png.png: missing, train.csv has it"]


def test_the_setting_that_is_named_mends_it(home: Path) -> None:
    root = home / "data" / "tiny"
    plain = load_split(TINY, "train", home)
    with_suffix(root, *TABLES)
    assert len(data_problems(TINY, home)) == 3
    mended = TINY.model_copy(update={"image_suffix": "", "mask_suffix": ""})
    assert data_problems(mended, home) == []
    found = load_split(mended, "train", home)
    assert list(found.ids) == [f"{name}.png" for name in plain.ids]
    assert list(found.coverage) == list(plain.coverage) and list(found.extra["depth"]) == list(plain.extra["depth"])
    shutil.copytree(root, home / "source")
    assert import_data(mended.model_copy(update={"name": "again"}), home / "source", home).endswith(
        "5 train and 3 test images"
    )


def test_a_line_break_in_an_id(home: Path) -> None:
    edit(home / "data/tiny/train.csv", "a7,", '"a\n7",')
    problems = data_problems(TINY, home)
    assert r"train/images/a\n7.png: missing, train.csv has it" in problems


@pytest.mark.parametrize("case", CASES)
def test_each_problem_alone(home: Path, case: str) -> None:
    spoil, said = CASES[case]
    spoil(home / "data" / "tiny")
    problems = data_problems(TINY, home)
    assert len(problems) == len(said), problems
    for problem, start in zip(sorted(problems), sorted(said)):
        assert problem.startswith(start)
        assert "\n" not in problem


def test_all_problems_at_once(home: Path) -> None:
    root = home / "data" / "tiny"
    together = [
        "corrupt train image",
        "corrupt test image",
        "mask without an image",
        "bad RLE",
        "depth missing",
    ]
    flip_pixel(root / "train/masks/nan.png")
    for case in together:
        CASES[case][0](root)
    problems = data_problems(TINY, home)
    said = [CASES[case][1][0] for case in together] + ["train/masks/nan.png: differs"]
    assert len(problems) == len(said), problems
    for start in said:
        assert any(problem.startswith(start) for problem in problems), start


def test_missing_group_column(home: Path) -> None:
    (problem,) = data_problems(TINY.model_copy(update={"group_column": "well"}), home)
    assert problem.startswith("train.csv has no column well")


def test_no_data_folder(tmp_path: Path) -> None:
    (problem,) = data_problems(TINY, tmp_path)
    assert "make data from=PATH" in problem
