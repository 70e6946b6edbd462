"""The true mask of an image as metrics look at it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Truth:
    """What a prediction is held to. Metrics keep here what they find out about it, so one object serves many predictions.

    Attributes:
        planes: C×H×W bool, pixels of each class.
        valid: H×W bool, pixels that count; None: all.
        objects: H×W integers, the number of the object that a pixel belongs to, 0 for none; None: the 8-connected
            components of each class are its objects.
    """

    planes: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_] | None = None
    objects: npt.NDArray[Any] | None = None
    _known: dict[Any, npt.NDArray[Any]] = field(default_factory=dict, init=False, repr=False)

    def known(self, key: Any, find: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """What ``find`` finds, which is called once for a key."""
        if key not in self._known:
            self._known[key] = find()
        return self._known[key]

    def objects_of(self, index: int) -> npt.NDArray[np.int32]:
        """H×W numbers of the objects of a class, 0 for none and where pixels do not count."""

        def find() -> npt.NDArray[np.int32]:
            plane = self.planes[index]
            numbers = components(plane)[0] if self.objects is None else np.where(plane, self.objects, 0)
            return np.ascontiguousarray(numbers if self.valid is None else np.where(self.valid, numbers, 0), np.int32)

        return self.known(("objects", index), find)


def components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The 8-connected components of an H×W mask: their numbers from 1, H×W, and the pixels of each, 0 being the rest."""
    pixels = np.ascontiguousarray(mask, np.bool_).view(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    return labels, stats[:, cv2.CC_STAT_AREA]  # type: ignore[return-value]
