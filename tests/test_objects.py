"""Objects: the competition's own, or connected parts, each with its box, class and pixels; against a look at every pixel."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet
from segfold.data.objects import ObjectBoxes
from segfold.tasks import VOID, Binary, Multiclass, Multilabel, Task
from small_images import image_set, store

ABC = ("a", "b", "c")
TASKS: list[Task] = [Binary(("a",)), Multiclass(ABC, background=0), Multiclass(ABC), Multilabel(ABC)]
SHAPES = [(40, 33), (1, 1), (27, 50)]


def classes_of(task: Task, seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Spots of each class, which touch at corners too, and some void."""
    rng = np.random.default_rng(seed)
    planes = rng.random((len(task.classes), *shape)) < 0.25
    mask = np.asarray(task.mask(planes))
    if task.fill is not None:
        mask[: shape[0] // 3, : shape[1] // 2] = VOID
    return mask


def pictured(task: Task, **changes: Any) -> ImageSet:
    masks = [classes_of(task, seed, shape) for seed, shape in enumerate(SHAPES)]
    images = [np.repeat(mask[:, :, None], 3, axis=2).astype(np.uint8) for mask in masks]
    made = image_set(len(masks), (1, 1), task=task)
    return replace(made, images=store(images), masks=one_store(masks), areas=None, **changes)


def one_store(masks: list[np.ndarray]) -> Any:
    return store(masks, masks=True)


def box_of(pixels: np.ndarray) -> list[int]:
    down, across = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    return [down[0], across[0], down[-1] - down[0] + 1, across[-1] - across[0] + 1]


def parts(task: Task, mask: np.ndarray, least: float) -> list[tuple[int, np.ndarray]]:
    """Class and pixels of each connected part, by another library."""
    found = []
    for index in task.rows:
        labels, count = ndimage.label(task.planes(mask)[index], np.ones((3, 3)))
        found += [(index, labels == number) for number in range(1, count + 1)]
    return [(index, pixels) for index, pixels in found if pixels.sum() >= least * mask.size]


@pytest.mark.parametrize("least", [0.0, 0.01])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name}-{task.background}")
def test_connected_parts_are_those_of_another_library(task: Task, least: float) -> None:
    images = pictured(task)
    assert images.masks is not None
    found = ObjectBoxes(images, np.array([2, 0, 1, 0]), least)
    for row in range(3):
        wanted = parts(task, images.masks[row], least)
        numbers = found.of(row)
        assert (found.rows[numbers] == row).all() and len(numbers) == len(wanted)
        key = lambda index, pixels: (int(index), *map(int, box_of(pixels)), int(pixels.sum()), pixels.tobytes())
        window = Window(0, 0, *images.masks[row].shape)
        ours = [
            (int(found.classes[n]), *found.boxes[n].tolist(), int(found.pixels[n]), found.alone(n, window).tobytes())
            for n in numbers
        ]
        assert sorted(ours) == sorted(key(*each) for each in wanted)
    # Some parts fall below the least share, and others do not.
    counts = [len(ObjectBoxes(images, np.arange(3), share)) for share in (0, 0.01, 0.9)]
    assert counts[0] > counts[1] > counts[2]


def test_a_part_of_just_the_least_share_is_an_object() -> None:
    mask = np.zeros((10, 20), np.uint8)
    mask[2, 3:5], mask[8, 9:12] = 1, 1
    images = replace(image_set(1, mask.shape), masks=one_store([mask]), areas=None)
    assert ObjectBoxes(images, np.arange(1), 0.01).boxes.tolist() == [[2, 3, 1, 2], [8, 9, 1, 3]]
    assert ObjectBoxes(images, np.arange(1), 0.0101).boxes.tolist() == [[8, 9, 1, 3]]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name}-{task.background}")
def test_own_objects_have_the_class_that_most_of_them_has(task: Task) -> None:
    rng = np.random.default_rng(9)
    maps = [rng.choice([0, 0, 3, 500, 65_535], shape).astype(np.uint16) * (rng.random(shape) < 0.4) for shape in SHAPES]
    images = pictured(task, instances=store(maps, masks=True))
    assert images.masks is not None
    found = ObjectBoxes(images, np.arange(3), least=1.0)  # of connected parts alone
    wanted = []
    for row, objects in enumerate(maps):
        planes = task.planes(images.masks[row])
        for number in np.unique(objects[objects > 0]).tolist():
            counts = [int((planes[i] & (objects == number)).sum()) if i in task.rows else 0 for i in range(len(planes))]
            if max(counts):
                index = counts.index(max(counts))
                pixels = planes[index] & (objects == number)
                wanted.append((row, index, *box_of(pixels), int(pixels.sum()), pixels.tobytes()))
    ours = [
        (
            int(found.rows[n]),
            int(found.classes[n]),
            *found.boxes[n].tolist(),
            int(found.pixels[n]),
            found.alone(n, Window(0, 0, *SHAPES[int(found.rows[n])])).tobytes(),
        )
        for n in range(len(found))
    ]
    assert ours == wanted and len(wanted) >= 4


@pytest.mark.parametrize("own", [False, True])
def test_an_object_alone_in_any_window(own: bool) -> None:
    task = Multiclass(ABC, background=0)
    maps = [(np.arange(np.prod(shape)).reshape(shape) // 7 % 4).astype(np.uint16) for shape in SHAPES]
    images = pictured(task, instances=store(maps, masks=True) if own else None)
    found = ObjectBoxes(images, np.arange(3))
    number = max(found.of(0), key=lambda n: found.pixels[n])
    whole = found.alone(number, Window(0, 0, *SHAPES[0]))
    top, left, height, width = found.boxes[number].tolist()
    for window in (
        Window(top - 5, left - 9, height + 20, width + 40),
        Window(top + 1, left, max(height - 2, 1), width),
        Window(-30, -30, 10, 10),
        Window(top, left, 1, 1),
    ):
        np.testing.assert_array_equal(found.alone(number, window), cut(whole, window, fill=0))


def test_images_without_an_object_have_none() -> None:
    images = replace(image_set(3, (8, 9)), masks=one_store([np.zeros((8, 9), np.uint8)] * 3), areas=None)
    found = ObjectBoxes(images, np.arange(3))
    assert len(found) == 0 and found.boxes.shape == (0, 4) and not found.of(1)
    empty = replace(images, instances=store([np.zeros((8, 9), np.uint16)] * 3, masks=True))
    assert len(ObjectBoxes(empty, np.arange(3))) == 0
