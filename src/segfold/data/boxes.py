"""Boxes of images to train on in place of the images: objects one by one, or proposals that overlap one."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segfold.data.geometry.boxes import Boxes
from segfold.data.geometry.window import Window
from segfold.data.objects import ObjectBoxes
from segfold.tasks import Mask, Task


@dataclass(frozen=True)
class BoxedObjects:
    """Boxes of images, and the object that each is of.

    Attributes:
        rows: (B,) the image of each box.
        boxes: B×4.
        objects: (B,) the object that it is of, or that it overlaps most; a number in an ``ObjectBoxes``.
    """

    rows: npt.NDArray[np.int64]
    boxes: Boxes
    objects: npt.NDArray[np.int64]


def object_boxes(found: ObjectBoxes) -> BoxedObjects:
    """The box that each object just fills."""
    return BoxedObjects(found.rows, found.boxes, np.arange(len(found)))


def proposed_boxes(found: ObjectBoxes, proposals: Callable[[int], Boxes], overlap: float) -> BoxedObjects:
    """Proposals that overlap an object.

    Args:
        found: the objects.
        proposals: boxes of an image by its row.
        overlap: least intersection over union with the box of an object.
    """
    rows, boxes, objects = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.int32)], [np.zeros(0, np.int64)]
    for row in np.unique(found.rows).tolist():
        numbers = found.of(row)
        proposed = proposals(row)
        shares = intersections_over_unions(proposed, found.boxes[numbers.start : numbers.stop])
        kept = np.flatnonzero(shares.max(axis=1) >= overlap)
        rows.append(np.full(len(kept), row, np.int64))
        boxes.append(proposed[kept])
        objects.append(numbers.start + shares[kept].argmax(axis=1))
    return BoxedObjects(np.concatenate(rows), np.concatenate(boxes), np.concatenate(objects))


def intersections_over_unions(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Of each of N boxes with each of M others: N×M."""
    one, other = boxes[:, None].astype(np.int64), others[None].astype(np.int64)
    starts = np.maximum(one[..., :2], other[..., :2])
    ends = np.minimum(one[..., :2] + one[..., 2:], other[..., :2] + other[..., 2:])
    shared = (ends - starts).clip(0).prod(axis=2)
    return np.asarray(shared / (one[..., 2:].prod(axis=2) + other[..., 2:].prod(axis=2) - shared))


@dataclass(frozen=True)
class TrainingBoxes:
    """What a stage draws from: boxes, and after them whole images where it has some; a position each.

    Attributes:
        boxed: the boxes as they were found, B of them.
        found: the objects.
        task: of the samples.
        alone: whether the object of a box counts and all else in the box is background.
        scale: how much longer the sides of a box are made, about its centre.
        part: shares of the height and the width of a scaled box that the network sees, anywhere in it.
        images: (W,) whole images, indices of rows.
        shapes: height and width of every image of the set, N×2 or more.
    """

    boxed: BoxedObjects
    found: ObjectBoxes
    task: Task
    alone: bool
    scale: float
    part: tuple[float, float]
    images: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int64]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(B + W,) the image of each position."""
        return np.concatenate([self.boxed.rows, self.images])

    @property
    def classes(self) -> npt.NDArray[np.uint8]:
        """(B,) the class that each box is of."""
        return self.found.classes[self.boxed.objects]

    def chances(self, balance: float, whole: float, of_images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(B + W,) how likely each position is drawn; they add up to 1.

        Args:
            balance: power of a class's number of boxes that each of them is drawn by less: 0 for all boxes alike, 1 for all
                classes.
            whole: share of whole images.
            of_images: (W,) how likely each of them is drawn among them.
        """
        counts = np.bincount(self.classes, minlength=1).astype(np.float64)
        of_boxes = counts[self.classes] ** -balance
        if not len(of_images):
            return np.asarray(of_boxes / of_boxes.sum())
        return np.concatenate([(1 - whole) * of_boxes / of_boxes.sum(), whole * of_images / of_images.sum()])

    def window(self, position: int, stream: random.Random) -> Window:
        """What the network sees at a position, in pixels of its image; it may reach beyond it."""
        if position >= len(self.boxed.rows):
            height, width = self.shapes[self.images[position - len(self.boxed.rows)], :2].tolist()
            return Window(0, 0, height, width)
        box = Window(*self.boxed.boxes[position].tolist()).scaled(self.scale)
        height, width = (max(1, round(side * share)) for side, share in zip(box.shape, self.part))
        top, left = stream.randint(0, box.height - height), stream.randint(0, box.width - width)
        return Window(box.top + top, box.left + left, height, width)

    def mask(self, position: int, mask: Mask, window: Window) -> Mask:
        """What of a window of the image's mask counts at a position.

        Args:
            mask: the window's, height×width.
            window: in pixels of the image.
        """
        if (number := self._alone(position)) is None:
            return mask
        return self.task.alone(mask, int(self.found.classes[number]), self.found.alone(number, window))

    def objects(self, position: int, objects: npt.NDArray[np.uint16], window: Window) -> npt.NDArray[np.uint16]:
        """What of a window of a map of the image's objects counts at a position. Arguments as of ``mask``."""
        if (number := self._alone(position)) is None:
            return objects
        return np.where(self.found.alone(number, window), objects, np.uint16(0))

    def _alone(self, position: int) -> int | None:
        """The object that alone counts at a position."""
        if not self.alone or position >= len(self.boxed.rows):
            return None
        return int(self.boxed.objects[position])
