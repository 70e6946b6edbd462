"""Decisions of several classes against pixels one by one."""

from typing import Any

import numpy as np
import pytest
import scipy.ndimage

from segfold.post import Decision, Decisions, Seen
from segfold.store.codes import HALF
from segfold.tasks import FOREGROUND, Multiclass, Multilabel, Task
from store_samples import smooth

NAMES = ("sky", "road", "car")
SEEN = Seen(lambda: np.ones((30, 30, 1), np.uint8), 20000)
FEW = [
    {},
    {"components": {"min_area": 12}},
    {"holes": {"max_area": 9}},
    {"components": {"min_area": 12}, "holes": {"max_area": 9}},
    {"components": {"min_area": 12}, "holes": {"max_area": 9}, "largest": {"count": 2}},
    {"smooth": {"sigma": 1.0}, "components": {"min_area": 25}, "largest": {"count": 1}},
]


def noisy(seed: int, classes: int = 3, size: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = np.stack([smooth(10 * seed + index, size) for index in range(classes)])
    return (base.astype(float) + rng.normal(0, 9000, base.shape)).clip(0, 65535).astype(np.uint16)


def stepped(plane: np.ndarray, name: str, values: dict[str, Any]) -> np.ndarray:
    """A step of masks by scipy."""
    if name == "holes":
        labels, count = scipy.ndimage.label(~plane)
        edge = {*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]}
        inside = [n for n in range(1, count + 1) if n not in edge and (labels == n).sum() <= values["max_area"]]
        return plane | np.isin(labels, inside)
    labels, count = scipy.ndimage.label(plane, np.ones((3, 3)))
    areas = {number: int((labels == number).sum()) for number in range(1, count + 1)}
    if name == "components":
        return np.isin(labels, [number for number, area in areas.items() if area >= values["min_area"]])
    return np.isin(labels, sorted(areas, key=lambda number: -areas[number])[: values["count"]])


def by_hand(codes: np.ndarray, steps: dict[str, Any], background: int | None) -> np.ndarray:
    """The rule of exclusive classes, pixel by pixel."""
    codes = codes.astype(int)
    if "smooth" in steps:
        sigma = steps["smooth"]["sigma"]
        radius = int(np.ceil(4 * sigma))
        codes = np.stack([scipy.ndimage.gaussian_filter(p.astype(float), sigma, radius=radius) for p in codes])
    count, height, width = codes.shape
    mask = np.array([[max(range(count), key=lambda c: codes[c, y, x]) for x in range(width)] for y in range(height)])
    taken: dict[tuple[int, int], set[int]] = {}
    for name, values in steps.items():
        if name == "smooth":
            continue
        before = mask.copy()
        found = {c: stepped(before == c, name, values) for c in range(count) if c != background and (before == c).any()}
        for c, plane in found.items():
            for y, x in np.argwhere((before == c) & ~plane):
                taken.setdefault((y, x), set()).add(c)
        for (y, x), gone in taken.items():
            left = [c for c in range(count) if c not in gone]
            if before[y, x] in gone and left:
                mask[y, x] = max(left, key=lambda c: codes[c, y, x])
        for c, plane in found.items():
            mask[plane & (before != c)] = c
    return mask


@pytest.mark.parametrize("background", [None, 0, 1])
@pytest.mark.parametrize("steps", FEW, ids=lambda steps: "+".join(steps) or "plain")
def test_exclusive_classes_are_decided_together(steps: dict[str, Any], background: int | None) -> None:
    task = Multiclass(NAMES, background)
    changed = 0
    for seed in range(4):
        codes = noisy(seed)
        given = codes.copy()
        found = Decisions(task, (Decision.of(None, steps),))(codes, SEEN)
        assert np.array_equal(found, by_hand(codes, steps, background)) and found.dtype == np.uint8
        assert np.array_equal(codes, given)
        changed += int((found != codes.argmax(axis=0)).sum())
    assert (changed > 50) == bool(steps)


def test_what_every_class_has_lost_stays_where_it_is() -> None:
    codes = np.zeros((2, 1, 2), np.uint16)
    codes[0, 0, 0] = codes[1, 0, 1] = 9  # one pixel of each class: both are too small
    found = Decisions(Multiclass(("a", "b")), (Decision.of(None, {"components": {"min_area": 2}}),))(codes, SEEN)
    assert found.tolist() == [[1, 0]]  # each goes to the other class, which is then asked no more
    steps = {"components": {"min_area": 2}, "largest": {"count": 1}}
    codes = np.zeros((2, 1, 4), np.uint16)
    codes[0, 0, ::2] = codes[1, 0, 1::2] = 9
    found = Decisions(Multiclass(("a", "b")), (Decision.of(None, steps),))(codes, SEEN)
    assert found.tolist() == [[1, 0, 1, 0]]  # the second step finds no class left for what it takes


@pytest.mark.parametrize("step", [{"gate": {"least": 0.5}}, {"constant": {}}])
def test_an_emptied_image_is_background_where_there_is_one(step: dict[str, Any]) -> None:
    codes, decision = noisy(1), Decision.of(None, step)
    assert np.array_equal(Decisions(Multiclass(NAMES), (decision,))(codes, SEEN), codes.argmax(axis=0))
    for background in range(3):
        assert (Decisions(Multiclass(NAMES, background), (decision,))(codes, SEEN) == background).all()


def test_classes_by_themselves_are_decided_each_on_its_plane() -> None:
    task = Multilabel(NAMES)
    each = tuple(Decision.of(0.3 + 0.2 * index, steps) for index, steps in enumerate(FEW[3:]))
    for seed in range(3):
        codes = noisy(seed)
        planes = [decision(plane, SEEN) for decision, plane in zip(each, codes)]
        assert np.array_equal(task.planes(Decisions(task, each)(codes, SEEN)), planes)
        shared = task.planes(Decisions(task, each[:1])(codes, SEEN))
        assert np.array_equal(shared, [each[0](plane, SEEN) for plane in codes])
        one = Decisions(FOREGROUND, each[:1])(codes[:1], SEEN)
        assert np.array_equal(one, planes[0]) and one.dtype == np.uint8
        alone = Decisions(Multilabel(("a",)), each[:1])(codes[:1], SEEN)
        assert np.array_equal(alone, one) and alone.dtype == one.dtype


@pytest.mark.parametrize("task", [Multilabel(NAMES), Multiclass(NAMES, 1)], ids=["multilabel", "multiclass"])
def test_decisions_that_begin_alike_share_what_they_make_and_nothing_else(task: Task) -> None:
    codes, known = noisy(2), {}  # type: ignore[var-annotated]
    thresholds = (None,) if task.exclusive else (0.4, HALF / 65535, 0.6)
    wanted = [Decisions(task, (Decision.of(value, steps),)) for value in thresholds for steps in FEW]
    together = [decisions(codes, SEEN, known) for decisions in wanted]
    for decisions, found in zip(wanted, together):
        assert np.array_equal(found, decisions(codes, SEEN))
    assert len({found.tobytes() for found in together}) >= len(FEW)
