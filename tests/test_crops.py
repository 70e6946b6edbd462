"""Where crops lie: inside the image, all alike, or around a pixel of a class, each pixel of it alike."""

import random
from typing import Any

import numpy as np
import pytest
from scipy import stats

from segfold.data.crops import Crops
from segfold.data.geometry.window import Window
from segfold.data.places import ClassPlaces
from segfold.tasks import Task, make_task
from small_images import store

TASKS = [make_task("binary", ["disc"]), make_task("multiclass", list("abc"), 0), make_task("multilabel", list("abc"))]


def class_mask(task: Task, shape: tuple[int, int] = (150, 200), seed: int = 0) -> np.ndarray:
    """Few pixels of each class, some on the last row and column, and some that do not count."""
    stream = np.random.default_rng(seed)
    planes = stream.random((len(task.classes), *shape)) < 0.002
    planes[:, -1, -1] = True
    if task.exclusive:
        planes[0] = True  # the background, but for what lies over it
    mask = np.asarray(task.mask(planes))
    if task.fill is not None:
        mask[:20, :50] = task.fill
    return mask


def looking(task: Task, masks: Any, **changes: Any) -> Crops:
    places = ClassPlaces(masks, np.arange(len(masks)), task)
    return Crops(**{"shape": (40, 30), "focus": 1.0, "classes": task.rows, "places": places, **changes})


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_counts_are_those_of_the_masks(task: Task) -> None:
    shapes = [(150, 200), (64, 64), (1, 1), (65, 63)]
    arrays = [class_mask(task, shape, seed) for seed, shape in enumerate(shapes)]
    masks = store(arrays, masks=True) if arrays[0].dtype == np.uint8 else arrays
    places = ClassPlaces(masks, np.array([3, 0, 3, 1]), task)
    for row in (0, 1, 3):
        planes = task.planes(arrays[row])
        assert places.present(row) == [index for index, plane in enumerate(planes) if plane.any()]
        for index in places.present(row):
            count = places.pixels(row, index)
            found = {places.pixel(row, index, number, arrays[row]) for number in range(count)}
            assert found == set(zip(*(axis.tolist() for axis in np.nonzero(planes[index])), strict=True))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_pixel_of_a_class_is_looked_at_alike(task: Task) -> None:
    """A crop of one pixel lies on the pixel that was drawn: classes alike, then the pixels of each."""
    mask = class_mask(task, (70, 130))
    crops = looking(task, [mask], shape=(1, 1))
    stream = random.Random(1)
    drawn = [crops.window(0, [mask], stream) for _ in range(6000)]
    planes = task.planes(mask)
    expected = np.zeros(mask.shape)
    for index in task.rows:
        expected += planes[index] / planes[index].sum() / len(task.rows)
    counts = np.zeros(mask.shape)
    np.add.at(counts, tuple(np.array([window[:2] for window in drawn]).T), 1)
    assert counts[expected == 0].sum() == 0
    wanted = expected > 0
    assert stats.chisquare(counts[wanted], 6000 * expected[wanted]).pvalue > 1e-3


def test_windows_around_a_pixel_lie_inside_and_are_alike() -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[45, 10] = 1
    crops = looking(TASKS[0], [mask])
    stream = random.Random(0)
    drawn = [crops.window(0, [mask], stream) for _ in range(3000)]
    assert {window.shape for window in drawn} == {(40, 30)}
    tops, lefts = np.array([window[:2] for window in drawn]).T
    assert set(tops) == set(range(6, 11)) and set(lefts) == set(range(11))
    for found in (tops, lefts):
        assert stats.chisquare(np.unique(found, return_counts=True)[1]).pvalue > 1e-3


def test_other_windows_are_uniform_and_a_short_axis_is_taken_whole() -> None:
    mask, low = np.zeros((50, 60), np.uint8), np.zeros((20, 60), np.uint8)
    crops = looking(TASKS[0], [mask, low])  # there is no class to look for
    stream = random.Random(0)
    drawn = [crops.window(0, [mask, low], stream) for _ in range(6000)]
    counts = np.unique(np.array([window[:2] for window in drawn]), axis=0, return_counts=True)[1]
    assert len(counts) == 11 * 31 and stats.chisquare(counts).pvalue > 1e-3
    assert {window.shape for window in drawn} == {(40, 30)}
    for _ in range(50):
        window = Crops((40, 30)).window(1, [mask, low], stream)
        assert (window.top, window.height, window.width) == (0, 20, 30) and 0 <= window.left <= 30


def test_focus_is_a_share_and_names_classes() -> None:
    task = TASKS[1]
    mask = np.zeros((400, 400), np.uint8)
    mask[100, 100], mask[300:310, 300:310] = 1, 2

    def holds(index: int, **changes: Any) -> float:
        crops = looking(task, [mask], **{"shape": (8, 8), **changes})
        stream = random.Random(3)
        windows = [crops.window(0, [mask], stream) for _ in range(1000)]
        return float(np.mean([(mask[window.slices] == index).any() for window in windows]))

    assert holds(1) == pytest.approx(0.5, abs=0.06) and holds(2) == pytest.approx(0.5, abs=0.06)
    assert holds(1, focus=0.4) == pytest.approx(0.2, abs=0.05)
    assert holds(1, classes=(1,)) == 1 and holds(2, classes=(1,)) == 0
    assert holds(1, focus=0.0) < 0.01


def test_as_many_as_cover_an_image_inside_the_margin() -> None:
    shapes = np.array([[100, 100, 3], [101, 99, 3], [400, 50, 3], [1, 1, 3]])
    assert Crops((100, 100)).needed(shapes).tolist() == [1, 2, 4, 1]
    assert Crops((120, 80)).needed(shapes).tolist() == [2, 2, 4, 1]
    inner = Crops((120, 130), around=10)
    assert inner.given == (100, 110) and inner.needed(shapes).tolist() == [1, 2, 4, 1]
    window = inner.window(0, [np.zeros((100, 300), np.uint8)], random.Random(0))
    assert window == Window(0, window.left, 100, 110)
