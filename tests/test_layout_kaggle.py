"""Tables of masks: a row an image, a class or an object, with whatever columns, keys and texts for nothing they have."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layout_sets import competition, picture, runs, save, table
from segfold.competition import Competition
from segfold.data.images import ImageSet, has_test, load_split
from segfold.errors import SegfoldError
from segfold.importing.check import data_problems
from segfold.tasks import VOID

CLASSES = ("fish", "flower", "sugar cane")
NAMES = ("a", "b", "c", "d")
SHAPE = (9, 7)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in NAMES:
        save(tmp_path / f"data/set/train/{name}.jpg", picture(rng))
    save(tmp_path / "data/set/test/t.jpg", picture(rng))
    table(tmp_path / "data/set/sample_submission.csv", "id,rle_mask", "t,1 1")
    return tmp_path


def load(home: Path, made: Competition) -> ImageSet:
    """The training set, of which the check finds nothing wrong."""
    assert data_problems(made, home) == []
    return load_split(made, "train", home)


def planes(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Masks C×H×W by image; the last image has none, and the first has none of the first class."""
    rng = np.random.default_rng(seed)
    found = {name: rng.random((count, *SHAPE)) < 0.3 for name in NAMES}
    found["d"][:] = False
    found["a"][0] = False
    return found


def options(**changes: Any) -> dict[str, Any]:
    return {"train_images": "train/{id}.jpg", "test_images": "test/{id}.jpg", "train_masks": None, **changes}


COLUMNS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "key with class": (
        {"key": "{id}.jpg_{class}", "id_column": "Image_Label"},
        "Image_Label,rle_mask",
        "{0}.jpg_{1},{2}",
    ),
    "class before id": ({"key": "{class}/{id}"}, "id,rle_mask", "{1}/{0},{2}"),
    "class column": (
        {"class_column": "what", "key": "{id}.jpg", "mask_column": " Pixels", "empty": "-1"},
        "id, Pixels, what",
        '"{0}.jpg", {2}, {1}',
    ),
}


@pytest.mark.parametrize("order", ["column", "row"])
@pytest.mark.parametrize("case", COLUMNS)
def test_rows_by_class(home: Path, case: str, order: str) -> None:
    given, header, line = COLUMNS[case]
    truth = planes(3)
    texts = [
        line.format(name, CLASSES[c], runs(mask, order) or given.get("empty", ""))
        for name in reversed(NAMES)
        for c, mask in enumerate(truth[name])
    ]
    table(home / "data/set/train.csv", header, *texts)
    sample = {"id_column": "id", "mask_column": "rle_mask", "key": "{id}", "class_column": "what"}
    table(home / "data/set/sample_submission.csv", "id,what,rle_mask", *(f"t,{name}," for name in CLASSES))
    made = competition("kaggle-rle", "multilabel", CLASSES, **options(**given, rle_order=order), submission=sample)
    data = load(home, made)
    assert data.masks is not None and data.areas is not None and data.instances is None
    for row, name in enumerate(NAMES):
        bits = sum((plane.astype(int) << c for c, plane in enumerate(truth[name])), np.zeros(SHAPE, int))
        np.testing.assert_array_equal(data.masks[row], bits)
        assert data.areas[row].tolist() == truth[name].sum(axis=(1, 2)).tolist()
        assert data.coverage[row] == truth[name].any(axis=0).mean()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a.jpg_trout,", "a.jpg_trout: expected {id}.jpg_{class} with a class of fish, flower, sugar cane"),
        ("a.jpg_fish,", "id a.jpg_fish more than once"),
        ("a_fish,", "a_fish: expected {id}.jpg_{class}"),
        ("x.jpg_fish,1 1", "train/x.jpg: missing, train.csv has it"),
    ],
)
def test_a_row_that_is_of_no_image_or_class_is_one_line(home: Path, line: str, said: str) -> None:
    lines = [f"{name}.jpg_{label}," for name in NAMES for label in CLASSES]
    table(home / "data/set/train.csv", "id,rle_mask", *lines, line)
    table(home / "data/set/sample_submission.csv", "id,rle_mask", *(f"t.jpg_{name}," for name in CLASSES))
    made = competition("kaggle-rle", "multilabel", CLASSES, **options(key="{id}.jpg_{class}"))
    (problem,) = data_problems(made, home)
    assert said in problem and "\n" not in problem


def test_a_class_column_with_what_is_no_class(home: Path) -> None:
    table(home / "data/set/train.csv", "id,what,rle_mask", *(f"{name},fish," for name in NAMES), "a,whale,1 1")
    made = competition("kaggle-rle", "multilabel", CLASSES, **options(class_column="what"))
    with pytest.raises(SegfoldError, match=r"train\.csv, column what: 'whale': expected a class of fish, flower"):
        load_split(made, "train", home)
    plain = competition("kaggle-rle", "multilabel", CLASSES, **options())
    with pytest.raises(SegfoldError, match=r"has rows of 3 classes: set class_column, or key with \{class\} in it"):
        load_split(plain, "train", home)


def test_classes_that_exclude_each_other_from_rows(home: Path) -> None:
    truth = planes(3)
    lines = [f"{name}_{CLASSES[c]},{runs(mask)}" for name in NAMES for c, mask in enumerate(truth[name])]
    table(home / "data/set/train.csv", "id,rle_mask", *lines)
    for background, rest in ((None, VOID), (0, 0)):
        given = {"key": "{id}_{class}", "sample_submission": None, "unlisted": "empty"}
        made = competition("kaggle-rle", "multiclass", CLASSES, **options(**given), background=background)
        if background is None:  # image d has no pixel of any class, so none that counts
            truth["d"][1] = True
            table(home / "data/set/train.csv", "id,rle_mask", *lines[:-2], f"d_flower,{runs(truth['d'][1])}")
        else:
            truth["d"][1] = False
            table(home / "data/set/train.csv", "id,rle_mask", *lines)
        data = load(home, made)
        for row, name in enumerate(NAMES):
            wanted = np.full(SHAPE, rest)
            for c in range(3):  # a later class lies above
                if c != background:
                    wanted[truth[name][c]] = c
            assert data.masks is not None
            np.testing.assert_array_equal(data.masks[row], wanted)


@pytest.mark.parametrize("relative", [False, True])
def test_rows_by_object(home: Path, relative: bool) -> None:
    """Several rows an image; blanks before fields; -1 for none; an image without a row; overlapping objects."""
    first, second, third = (np.zeros(SHAPE, bool) for _ in range(3))
    first[1:4, 2:5], second[3:6, 4:6], third[8, 0] = True, True, True
    lines = [
        f"{name}.jpg, {runs(mask, relative=relative)}" for name, mask in (("b", first), ("a", third), ("b", second))
    ]
    table(home / "data/set/train.csv", "id, Pixels", *lines, "c.jpg, -1")
    given = {"key": "{id}.jpg", "mask_column": " Pixels", "empty": "-1", "rows": "instance", "rle_relative": relative}
    shape = {"rows": "image", "key": "{id}", "mask_column": "rle_mask"}
    refusing = competition("kaggle-rle", **options(**given), submission=shape)
    assert data_problems(refusing, home) == ["train/d.jpg: no line in train.csv"]
    with pytest.raises(SegfoldError, match=r"no mask in .*train\.csv for image d: .*unlisted: empty"):
        load_split(refusing, "train", home)
    data = load(home, competition("kaggle-rle", **options(**given, unlisted="empty"), submission=shape))
    assert list(data.ids) == list(NAMES) and data.masks is not None and data.instances is not None
    numbers = first * 1
    numbers[second] = 2
    for row, wanted in enumerate((third * 1, numbers, 0 * numbers, 0 * numbers)):
        np.testing.assert_array_equal(data.instances[row], wanted)
        np.testing.assert_array_equal(data.masks[row], wanted > 0)
    assert data.instances.dtype == np.uint16
    left = load(home, competition("kaggle-rle", **options(**given, unlisted="skip"), submission=shape))
    assert list(left.ids) == ["a", "b", "c"] and left.fingerprint != data.fingerprint


def test_a_row_an_image_stays_one(home: Path) -> None:
    table(home / "data/set/train.csv", "id,rle_mask", *(f"{name},1 2" for name in NAMES), "a,5 1")
    (problem,) = data_problems(competition("kaggle-rle", **options()), home)
    assert problem == "train.csv has id a more than once: expected one line an id"


def test_groups_by_pattern_column_and_table(home: Path) -> None:
    root = home / "data/set"
    table(root / "train.csv", "id,rle_mask,place", "a,1 1,north", "a,3 1,north", "b,,", "c,2 2,south", "d,,south")
    table(root / "patients.csv", "file,patient", *(f"{name}.jpg,{row // 2}" for row, name in enumerate(NAMES)))
    given = options(rows="instance", sample_submission=None)
    by_column = load(home, competition("kaggle-rle", **given, group_column="place"))
    assert by_column.groups is not None and by_column.groups.tolist() == ["north", "", "south", "south"]
    by_pattern = load(home, competition("kaggle-rle", **given, group_pattern="^(?:c|([ab]))"))
    assert by_pattern.groups is not None and by_pattern.groups.tolist() == ["a", "b", "", ""]
    patients = {"file": "patients.csv", "column": "patient", "id_column": "file", "key": "{id}.jpg"}
    by_table = load(home, competition("kaggle-rle", **given, groups=patients))
    assert by_table.groups is not None and by_table.groups.tolist() == ["0", "0", "1", "1"]
    table(root / "train.csv", "id,rle_mask,place", "a,1 1,north", "a,3 1,south", "b,,", "c,2 2,south", "d,,south")
    with pytest.raises(SegfoldError, match="a has rows of several place"):
        load_split(competition("kaggle-rle", **given, group_column="place"), "train", home)


def test_a_split_by_table_and_one_in_folders(home: Path) -> None:
    root = home / "data/set"
    table(root / "train.csv", "id,rle_mask", *(f"{name},{row + 1} 1" for row, name in enumerate(NAMES)))
    table(root / "split.csv", "id,split", "a,val", "b,train", "c,test", "d,train")
    given = options(split_table="split.csv", test_images=None, sample_submission=None)
    made = competition("kaggle-rle", **given)
    data = load(home, made)
    assert list(data.ids) == ["a", "b", "d"] and made.has_split
    assert data.held_out is not None and data.held_out.tolist() == [True, False, False]
    assert list(load_split(made, "test", home).ids) == ["c"]
    save(root / "later/e.jpg", picture(np.random.default_rng(5)))
    table(root / "train.csv", "id,rle_mask", *(f"{name}," for name in (*NAMES, "e")))
    data = load(home, competition("kaggle-rle", **options(validation_images="later/{id}.jpg")))
    assert data.held_out is not None and dict(zip(data.ids, data.held_out)) == {
        **dict.fromkeys(NAMES, False),
        "e": True,
    }


def test_test_images_that_nobody_has(home: Path) -> None:
    root = home / "data/set"
    table(root / "train.csv", "id,rle_mask", *(f"{name},1 1" for name in NAMES))
    made = competition("kaggle-rle", **options())
    assert has_test(made, home)
    (root / "test/t.jpg").unlink()
    (root / "test").rmdir()
    assert data_problems(made, home) == ["test: no such folder"]
    table(root / "sample_submission.csv", "id,rle_mask")
    assert data_problems(made, home) == [] and not has_test(made, home)
    with pytest.raises(SegfoldError, match="Set has no test images in "):
        load_split(made, "test", home)
