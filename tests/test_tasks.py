"""Tasks: what masks are. Checked against scikit-learn, Pillow and brute force; several classes of one equal one class."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from segfold.errors import SegfoldError
from segfold.resize import stretched_mask
from segfold.tasks import TASKS, VOID, Binary, Multiclass, Multilabel, Task, make_task

SOURCE = Path(__file__).parents[1] / "src" / "segfold"
ABC = ("a", "b", "c")


def random_mask(task: Task, shape: tuple[int, int] = (31, 27), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if task.exclusive:
        return rng.choice([*range(len(task.classes)), VOID], shape).astype(np.uint8)
    return rng.integers(0, 1 << len(task.classes), shape).astype(task.dtype)


EVERY = [Binary(("a",)), Multilabel(ABC), Multilabel([str(i) for i in range(11)]), Multiclass(ABC), Multiclass(ABC, 1)]


@pytest.mark.parametrize("task", EVERY, ids=lambda task: f"{task.name}{len(task.classes)}{task.background}")
def test_planes_and_masks_are_each_others_inverse(task: Task) -> None:
    mask = random_mask(task)
    planes = task.planes(mask)
    assert planes.shape == (len(task.classes), *mask.shape) and planes.dtype == bool
    again = task.mask(planes)
    assert again.dtype == mask.dtype
    known = np.ones(mask.shape, bool) if task.valid(mask) is None else task.valid(mask)
    np.testing.assert_array_equal(again[known], mask[known])
    np.testing.assert_array_equal(task.areas(mask), [plane.sum() for plane in planes])
    np.testing.assert_array_equal(task.gathered(task.spread(mask)), mask)
    assert task.foreground(mask) == planes[list(task.rows)].any(axis=0).sum()


def test_multilabel_of_one_class_is_binary() -> None:
    one, several = Binary(("a",)), Multilabel(("a",))
    rng = np.random.default_rng(1)
    mask, other = random_mask(one), random_mask(one, seed=2)
    codes = rng.integers(0, 65536, (1, 31, 27)).astype(np.uint16)
    for method, arguments in (
        ("planes", (mask,)),
        ("areas", (mask,)),
        ("resized", (mask, (50, 13))),
        ("target", (mask,)),
        ("shares", (mask,)),
        ("decided", (codes, [32768])),
        ("empty", ((3, 4),)),
        ("read", (mask * 255, None, "x")),
    ):
        found, expected = (getattr(task, method)(*arguments) for task in (several, one))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype, method
    for found, expected in zip(several.counts(mask, other), one.counts(mask, other)):
        np.testing.assert_array_equal(found, expected)
    logits = torch.randn(2, 1, 3, 3)
    assert torch.equal(several.activated(logits), one.activated(logits))
    areas, pixels = rng.integers(0, 100, (40, 1)), np.full(40, 100)
    areas[:9] = 0
    np.testing.assert_array_equal(several.strata(areas, pixels).numbers, one.strata(areas, pixels).numbers)


def test_two_exclusive_classes_are_the_sigmoid_of_their_difference() -> None:
    logits = torch.randn(3, 2, 5, 4, dtype=torch.float32)
    found = Multiclass(("no", "yes"), 0).activated(logits)
    expected = Binary(("yes",)).activated(logits[:, 1:] - logits[:, :1])
    torch.testing.assert_close(found[:, 1:], expected)


def test_void_is_in_no_count() -> None:
    task = Multiclass(ABC)
    truth, pred = random_mask(task), random_mask(task, seed=3)
    pred[pred == VOID] = 0
    valid = truth != VOID
    expected = confusion_matrix(truth[valid], pred[valid], labels=[0, 1, 2])
    np.testing.assert_array_equal(task.confusion(pred, truth), expected)
    counts = task.counts(pred, truth)
    np.testing.assert_array_equal(counts.inter, expected.diagonal())
    np.testing.assert_array_equal(counts.pred_area, expected.sum(axis=0))
    np.testing.assert_array_equal(counts.truth_area, expected.sum(axis=1))
    np.testing.assert_array_equal(counts.union, expected.sum(axis=0) + expected.sum(axis=1) - expected.diagonal())


def test_a_pixel_without_a_predicted_class_is_missed() -> None:
    counts = Multiclass(ABC).counts(np.array([[VOID, 0]], np.uint8), np.array([[0, 0]], np.uint8))
    assert [array.tolist() for array in counts] == [[1, 0, 0], [2, 0, 0], [1, 0, 0], [2, 0, 0]]


@pytest.mark.parametrize("task", [Binary(("a",)), Multilabel(ABC)], ids=["binary", "multilabel"])
def test_counts_of_independent_classes_by_brute_force(task: Task) -> None:
    pred, truth = random_mask(task), random_mask(task, seed=4)
    counts = task.counts(pred, truth)
    for bit in range(len(task.classes)):
        p, t = pred >> bit & 1, truth >> bit & 1
        found = [int(array[bit]) for array in counts]
        assert found == [int((p & t).sum()), int((p | t).sum()), int(p.sum()), int(t.sum())]


def test_class_masks_are_resized_to_the_nearest_pixel() -> None:
    task = Multiclass(ABC)
    mask = random_mask(task)
    for shape in ((64, 50), (20, 40), (31, 27)):
        expected = Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(task.resized(mask, shape), np.asarray(expected))


def test_several_classes_are_resized_each_by_itself() -> None:
    task = Multilabel(ABC)
    mask = random_mask(task)
    for bit, plane in enumerate(task.planes(task.resized(mask, (44, 20)))):
        np.testing.assert_array_equal(plane, stretched_mask((mask >> bit & 1).astype(np.uint8), (44, 20)) > 0)


def test_the_most_probable_class_is_decided_on_and_of_equals_the_first() -> None:
    codes = np.array([[[5, 7, 9]], [[6, 7, 1]], [[4, 7, 9]]], np.uint16)
    np.testing.assert_array_equal(Multiclass(ABC).decided(codes), [[1, 0, 0]])


def test_each_class_has_its_own_threshold() -> None:
    codes = np.array([[[5, 7]], [[6, 7]]], np.uint16)
    np.testing.assert_array_equal(Multilabel(("a", "b")).decided(codes, [6, 7]), [[0, 3]])


def test_no_class_is_background_unless_it_is_said() -> None:
    mask = np.array([[0, 0, 1, VOID]], np.uint8)
    assert Multiclass(ABC).foreground(mask) == 3 and Multiclass(ABC).rows == (0, 1, 2)
    assert Multiclass(ABC).empty((1, 1)) is None
    assert Multiclass(ABC, 0).foreground(mask) == 1 and Multiclass(ABC, 0).rows == (1, 2)
    np.testing.assert_array_equal(Multiclass(ABC, 2).empty((1, 1)), [[2]])


def test_strata_by_the_rarest_class_that_is_present() -> None:
    areas = np.array([[50, 0, 0], [50, 50, 0], [20, 5, 75], [0, 0, 0], [100, 0, 0], [0, 31, 69]])
    found = Multilabel(ABC).strata(areas, np.full(6, 100))
    # In how many images each class is: a 4, b 3, c 2.
    named = [found.names[number] for number in found.numbers.tolist()]
    rarest = "images whose rarest class is "
    assert named == [rarest + "a", rarest + "b", rarest + "c", "images without any class", rarest + "a", rarest + "c"]
    assert (found.numbers % 10).tolist() == [5, 5, 8, 0, 0, 7]
    assert Multiclass(ABC, background=2).strata(areas, np.full(6, 100)).numbers[5] == found.numbers[1] - 1  # b, 31 %


def test_values_of_files() -> None:
    task = Multiclass(ABC)
    np.testing.assert_array_equal(task.read(np.array([[0, 2, 9]]), 9, "x"), [[0, 2, VOID]])
    with pytest.raises(SegfoldError, match=r"m\.png holds class index 3, 7: expected 0 to 2, .* or void \(9\)"):
        task.read(np.array([[3, 7, 9]]), 9, "m.png")
    with pytest.raises(SegfoldError, match=r"holds class index 255: expected 0 to 2"):
        task.read(np.array([[0, 255]]), None, "m.png")
    with pytest.raises(SegfoldError, match=r"holds the value 8: as a bit a class, 3 classes go up to 7"):
        Multilabel(ABC).read(np.array([[8]]), None, "m.png")


@pytest.mark.parametrize(
    ("name", "classes", "background", "said"),
    [
        ("binary", ("a", "b"), None, "one class, but classes names 2"),
        ("binary", ("a",), 0, "task binary has none"),
        ("multiclass", ("a",), None, "1 classes: expected 2 to 255"),
        ("multiclass", ABC, 3, "background is 3: expected the index of a class, 0 to 2"),
        ("multilabel", (), None, "no classes"),
        ("multilabel", [str(i) for i in range(17)], None, "17 classes: expected at most 16"),
        ("multiclass", ("a", "b", "a"), None, "classes names a more than once"),
    ],
)
def test_classes_that_a_task_cannot_have(
    name: str, classes: tuple[str, ...], background: int | None, said: str
) -> None:
    with pytest.raises(SegfoldError, match=said):
        make_task(name, classes, background)


def test_nobody_else_asks_which_task_it_is() -> None:
    asking = re.compile(
        r"""isinstance\([^)]*\b(Binary|Multiclass|Multilabel)\b|task(_name|\.name)?\s*(==|!=|in)\s*["'(\[{]|"""
        r"""\bmatch\s+\S*task|["'](multiclass|multilabel)["']"""
    )
    found = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        if path.parent.name != "tasks"
        for line in path.read_text().splitlines()
        if asking.search(line) and "Literal[" not in line
    ]
    assert found == []
    assert asking.search('if task.name == "binary":') and asking.search("isinstance(task, Multiclass)")
    assert set(TASKS) == {"binary", "multiclass", "multilabel"}
