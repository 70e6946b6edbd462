"""The views by which some images of a set are predicted: by their shapes alone, or by boxes that each image has of its own."""

from collections import OrderedDict
from typing import Protocol

import numpy as np
import numpy.typing as npt

from segfold.data.geometry.boxes import Boxes
from segfold.data.geometry.view import View, ViewPlan
from segfold.data.images import ImageSet
from segfold.resize import Shape

_HELD = 64  # images whose views with boxes are kept


class BoxSource(Protocol):
    """What knows boxes of the images of a set, such as their proposals."""

    def of(self, row: int) -> tuple[Boxes, npt.NDArray[np.float32]]:
        """An image's boxes, inside it, and their scores, the best first: (N, 4) of top, left, height and width; and (N,)."""


class ImageViews:
    """The views of some images, by their position among them.

    Args:
        images: a set.
        rows: indices into it.
        plan: of the views.
        boxes: of the images of the set; needed where the plan has boxes.
    """

    def __init__(self, images: ImageSet, rows: np.ndarray, plan: ViewPlan, boxes: BoxSource | None = None) -> None:
        if plan.boxes is not None and boxes is None:
            raise ValueError("a plan of boxes and no source of them")
        self.plan = plan
        self.rows = np.asarray(rows, np.int64)
        self._shapes = images.images.shapes[self.rows, :2]
        self._boxes = boxes
        self._held: OrderedDict[int, tuple[View, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.rows)

    def shape(self, position: int) -> Shape:
        """Height and width of an image."""
        height, width = self._shapes[position].tolist()
        return height, width

    def of(self, position: int) -> tuple[View, ...]:
        """The views of an image, in the order in which they are put together."""
        shape = self.shape(position)
        if self.plan.boxes is None or self._boxes is None:
            return self.plan.views(shape)
        found = self._held.get(position)
        if found is None:
            boxes, _ = self._boxes.of(int(self.rows[position]))
            found = self.plan.views(shape, self.plan.boxes.windows(boxes, shape))
            if len(self._held) >= _HELD:
                self._held.popitem(last=False)
            self._held[position] = found
        return found
