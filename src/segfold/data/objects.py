"""The objects of images: where each lies, what it is, and its pixels apart from those of all others."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numba
import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet
from segfold.tasks import Mask, Task


class _Found(NamedTuple):
    """The objects of one image: K×4 tight boxes, and (K,) classes, pixels and marks, see ``ObjectBoxes``."""

    boxes: npt.NDArray[np.int32]
    classes: npt.NDArray[np.uint8]
    pixels: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int32]


class ObjectBoxes:
    """The objects of some images, found once.

    They are the competition's own, where it has maps of them: what counts of one are its pixels of the class that most of it
    has. Else they are the connected parts of each class but the background; pixels that touch at a corner are connected.

    Args:
        images: a split with masks.
        rows: indices into ``images`` of those to look at.
        least: share of an image's pixels that a connected part needs to be an object.

    Attributes:
        rows: (K,) the image of each object.
        boxes: K×4, top, left, height and width of the window that it just fills.
        classes: (K,) index of its class.
        pixels: (K,) how many it has.
    """

    def __init__(self, images: ImageSet, rows: np.ndarray, least: float = 0.0) -> None:
        assert images.masks is not None
        self._masks, self._instances, self._task = images.masks, images.instances, images.task
        looked_at = np.unique(np.asarray(rows, np.int64))
        areas = images.areas

        def found_in(row: int) -> _Found:
            mask = images.masks[row]  # type: ignore[index]
            if images.instances is not None:
                return _own_objects(images.instances[row], mask, images.task)
            assert areas is not None
            return _connected_parts(mask, images.task, areas[row], least)

        with ThreadPoolExecutor(cores()) as pool:
            found = list(pool.map(found_in, looked_at.tolist()))
        parts = [np.concatenate(part) for part in zip(_nothing(), *found)]
        self.rows = np.repeat(looked_at, [len(each.boxes) for each in found])
        self.boxes, self.classes, self.pixels, self._marks = parts
        self._starts = np.searchsorted(self.rows, np.arange(len(images) + 1))

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, row: int) -> range:
        """Which objects are an image's."""
        return range(int(self._starts[row]), int(self._starts[row + 1]))

    def alone(self, number: int, window: Window) -> npt.NDArray[np.bool_]:
        """The pixels of an object within a window of its image, which may reach beyond it: height×width."""
        row, box = int(self.rows[number]), Window(*self.boxes[number].tolist())
        index, mark = int(self.classes[number]), int(self._marks[number])
        pixels = _of_class(self._masks[row][box.slices], self._task, index)
        if self._instances is not None:
            pixels &= self._instances[row][box.slices] == mark
        else:
            # All of the object lies in its box, and what is not connected to it there is so nowhere.
            labels = cv2.connectedComponents(pixels.view(np.uint8), connectivity=8)[1]
            pixels = labels == labels[0, mark]
        return cut(pixels, window.moved(-box.top, -box.left), fill=0)


def _of_class(mask: Mask, task: Task, index: int) -> npt.NDArray[np.bool_]:
    """Which pixels have a class."""
    return np.asarray(mask == index if task.exclusive else mask >> index & 1 > 0)


def _nothing() -> _Found:
    whole = np.zeros(0, np.int64)
    return _Found(np.zeros((0, 4), np.int32), whole.astype(np.uint8), whole, whole.astype(np.int32))


def _connected_parts(mask: Mask, task: Task, areas: npt.NDArray[np.int64], least: float) -> _Found:
    """A mark is the column of a pixel in the first row of the object's box."""
    needed = max(1, np.ceil(least * mask.size - 1e-9))
    found = [_nothing()]
    for index in task.rows:
        if areas[index] < needed:
            continue
        plane = _of_class(mask, task, index).view(np.uint8)
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
        kept = np.flatnonzero(statistics[:, cv2.CC_STAT_AREA] >= needed)
        kept = kept[kept > 0]  # 0 is all that has not the class
        left, top, width, height, pixels = statistics[kept].T
        marks = [
            int((labels[y, x : x + across] == label).argmax()) for y, x, across, label in zip(top, left, width, kept)
        ]
        boxes = np.stack([top, left, height, width], axis=1)
        classes = np.full(len(kept), index, np.uint8)
        found.append(_Found(boxes, classes, pixels.astype(np.int64), np.array(marks, np.int32)))
    return _Found(*(np.concatenate(part) for part in zip(*found)))


def _own_objects(objects: npt.NDArray[np.uint16], mask: Mask, task: Task) -> _Found:
    """A mark is the object's number."""
    numbers = np.flatnonzero(np.bincount(objects.reshape(-1), minlength=1))
    numbers = numbers[numbers > 0]
    if not len(numbers):
        return _nothing()
    places = np.full(int(numbers[-1]) + 1, -1, np.int32)
    places[numbers] = np.arange(len(numbers))
    counts = np.zeros((len(numbers), len(task.classes)), np.int64)
    _count(objects, mask, places, task.exclusive, counts)
    if task.background is not None:
        counts[:, task.background] = 0
    classes, pixels = counts.argmax(axis=1), counts.max(axis=1)
    bounds = np.full((len(numbers), 4), [*mask.shape, -1, -1], np.int32)
    _bound(objects, mask, places, task.exclusive, classes, bounds)
    boxes = np.concatenate([bounds[:, :2], bounds[:, 2:] - bounds[:, :2] + 1], axis=1)
    kept = pixels > 0
    return _Found(boxes[kept], classes[kept].astype(np.uint8), pixels[kept], numbers[kept].astype(np.int32))


@numba.njit(nogil=True, cache=True)
def _has(value: int, exclusive: bool, index: int) -> bool:
    return value == index if exclusive else (value >> index) & 1 == 1


@numba.njit(nogil=True, cache=True)
def _count(objects: np.ndarray, mask: np.ndarray, places: np.ndarray, exclusive: bool, counts: np.ndarray) -> None:
    """Adds the pixels of each object and class to counts K×C."""
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            place = places[objects[y, x]]
            if place >= 0:
                value = int(mask[y, x])
                if exclusive:
                    if value < counts.shape[1]:
                        counts[place, value] += 1
                else:
                    for index in range(counts.shape[1]):
                        counts[place, index] += value >> index & 1


@numba.njit(nogil=True, cache=True)
def _bound(
    objects: np.ndarray,
    mask: np.ndarray,
    places: np.ndarray,
    exclusive: bool,
    classes: np.ndarray,
    bounds: np.ndarray,
) -> None:
    """Widens bounds K×4, first and last row and column in the order top, left, bottom, right, to each object's pixels of its class."""
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            place = places[objects[y, x]]
            if place >= 0 and _has(int(mask[y, x]), exclusive, classes[place]):
                bounds[place, 0] = min(bounds[place, 0], y)
                bounds[place, 1] = min(bounds[place, 1], x)
                bounds[place, 2] = max(bounds[place, 2], y)
                bounds[place, 3] = max(bounds[place, 3], x)
