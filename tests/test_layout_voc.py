"""Pascal VOC's layout: palettes, void, objects, lists of splits, and what may be wrong with them."""

from pathlib import Path

import numpy as np
import pytest

from import_files import contents, zipped
from layout_sets import PALETTE, competition, picture, save
from segfold.competition import Competition
from segfold.data.images import has_test, load_split
from segfold.errors import SegfoldError
from segfold.importing.check import data_problems
from segfold.importing.kaggle import import_data

CLASSES = ("background", "cat", "dog")
LISTS = {"train": ["b", "a"], "val": ["c"], "test": ["d", "e"]}
LIST = "ImageSets/Segmentation"


def voc(**options: object) -> Competition:
    return competition("voc", "multiclass", CLASSES, **{"background": 0, "void": 255, **options})


def make(root: Path, objects: bool = True) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A set of three images with masks, two without, and one that no list names; classes and objects by id."""
    rng, truth = np.random.default_rng(0), {}
    for row, name in enumerate("abcdex"):
        shape = (8 + row, 11 - row)
        save(root / f"JPEGImages/{name}.jpg", picture(rng, shape))
        if name in "abcx":
            numbers = rng.integers(0, 4, shape).astype(np.uint8)
            labels = np.array([0, 2, 1, 2], np.uint8)[numbers]
            numbers[0, :3] = labels[0, :3] = 255
            save(root / f"SegmentationClass/{name}.png", labels, PALETTE)
            if objects:
                save(root / f"SegmentationObject/{name}.png", numbers, PALETTE)
            truth[name] = labels, numbers
    for name, ids in LISTS.items():
        path = root / LIST / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{each}\n" for each in ids))
    return truth


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "set"


@pytest.mark.parametrize("objects", [True, False])
def test_splits_masks_and_objects(root: Path, objects: bool) -> None:
    truth, home = make(root, objects), root.parents[1]
    assert data_problems(voc(), home) == []
    data = load_split(voc(), "train", home)
    assert (
        list(data.ids) == ["a", "b", "c"]
        and data.held_out is not None
        and data.held_out.tolist() == [False, False, True]
    )
    assert data.masks is not None and (data.instances is not None) == objects
    for row, name in enumerate(data.ids):
        labels, numbers = truth[name]
        np.testing.assert_array_equal(data.masks[row], labels)
        assert data.coverage[row] == np.isin(labels, (1, 2)).mean()
        if data.instances is not None:
            np.testing.assert_array_equal(data.instances[row], np.where(numbers == 255, 0, numbers))
    if objects:  # another file of objects is another cache
        save(root / "SegmentationObject/b.png", np.full((9, 10), 7, np.uint8), PALETTE)
        changed = load_split(voc(), "train", home)
        assert changed.instances is not None and (changed.instances[1] == 7).all()
    test = load_split(voc(), "test", home)
    assert list(test.ids) == ["d", "e"] and test.masks is None and test.areas is None and test.held_out is None


def test_every_zip_and_folder_and_only_what_a_list_names(tmp_path: Path, root: Path) -> None:
    make(tmp_path / "VOCdevkit/VOC2012")
    files = contents(tmp_path / "VOCdevkit")
    (tmp_path / "all.zip").write_bytes(zipped({"inside/voc.zip": zipped(files)}))
    for source in (tmp_path / "VOCdevkit", tmp_path / "all.zip"):
        home = tmp_path / source.stem
        assert import_data(voc(), source, home).endswith("3 train and 2 test images")
        found = contents(home / "data/set")
        assert set(found) == {name.removeprefix("VOC2012/") for name in files if "/x." not in name}
        assert all(files[f"VOC2012/{name}"] == data for name, data in found.items())


def test_a_set_without_a_test_list_or_a_validation_list(root: Path) -> None:
    make(root)
    home = root.parents[1]
    for name in ("test", "val"):
        (root / LIST / f"{name}.txt").unlink()
    assert data_problems(voc(), home) == [] and not has_test(voc(), home)
    assert load_split(voc(), "train", home).held_out is None
    with pytest.raises(SegfoldError, match="has no test images"):
        load_split(voc(), "test", home)
    (problem,) = data_problems(voc(validation="vall"), home)  # a list that somebody has named is not let go
    assert problem.startswith(f"no list {LIST}/vall.txt")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "JPEGImages/a.jpg").unlink(), f"{LIST}/train.txt: a has no file JPEGImages/a.jpg"),
        (lambda root: (root / "JPEGImages/e.jpg").unlink(), f"{LIST}/test.txt: e has no file JPEGImages/e.jpg"),
        (
            lambda root: (root / "SegmentationClass/c.png").unlink(),
            "SegmentationClass/c.png: missing, its image is there",
        ),
        (lambda root: (root / "SegmentationObject/c.png").unlink(), "SegmentationObject/c.png: missing"),
        (
            lambda root: (root / LIST / "val.txt").write_text("c\na\n"),
            f"{LIST}/val.txt: a is there twice, or in {LIST}/train",
        ),
        (lambda root: (root / LIST / "train.txt").unlink(), f"no list {LIST}/train.txt"),
        (
            lambda root: save(root / "SegmentationClass/a.png", np.full((8, 11), 3, np.uint8), PALETTE),
            "SegmentationClass/a.png holds class index 3: expected 0 to 2",
        ),
        (
            lambda root: save(root / "SegmentationClass/a.png", picture(np.random.default_rng(1), (8, 11))),
            "SegmentationClass/a.png is an RGB picture of colours ",
        ),
        (
            lambda root: save(root / "SegmentationClass/a.png", np.zeros((2, 3), np.uint8), PALETTE),
            "SegmentationClass/a.png: 2×3, its image is 8×11",
        ),
    ],
)
def test_each_fault_is_one_line(root: Path, spoil, said: str) -> None:  # type: ignore[no-untyped-def]
    make(root)
    spoil(root)
    (problem,) = data_problems(voc(), root.parents[1])
    assert problem.startswith(said) and "\n" not in problem
    with pytest.raises(SegfoldError):
        load_split(voc(), "test" if "test" in said else "train", root.parents[1])
