"""Several classes, each by itself: a pixel may have none, one or more."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.resize import Shape, stretched_mask
from segfold.tasks.base import Mask, Planes, Task
from segfold.tasks.strata import Strata, rarest_class_strata

MOST = 16


class Multilabel(Task):
    """Masks are H×W bit sets: bit c of a pixel is set where it has class c; uint8 of up to eight classes, else uint16.

    Raises:
        SegfoldError: more than sixteen classes.
    """

    name = "multilabel"

    def __init__(self, classes: Sequence[str]) -> None:
        if len(classes) > MOST:
            raise SegfoldError(f"task multilabel has {len(classes)} classes: expected at most {MOST}")
        super().__init__(classes)

    @property
    def dtype(self) -> npt.DTypeLike:
        return np.uint8 if len(self.classes) <= 8 else np.uint16

    def planes(self, mask: Mask) -> Planes:
        return np.stack([mask >> bit & 1 for bit in range(len(self.classes))]).astype(bool)

    def mask(self, planes: npt.NDArray) -> Mask:
        bits = np.zeros(planes.shape[1:], self.dtype)
        for bit, plane in enumerate(planes):
            bits[plane != 0] |= np.asarray(1 << bit, self.dtype)
        return bits

    def read(self, values: npt.NDArray, void: int | None, where: str) -> Mask:
        if len(self.classes) > 1 and (most := int(values.max(initial=0))) >> len(self.classes):
            raise SegfoldError(
                f"{where} holds the value {most}: as a bit a class, {len(self.classes)} classes go up to "
                f"{(1 << len(self.classes)) - 1}; give masks as a file a class ({{class}} in its pattern)"
            )
        return (values > 0).astype(np.uint8) if len(self.classes) == 1 else values.astype(self.dtype)

    def resized(self, mask: Mask, shape: Shape) -> Mask:
        return self.mask(np.stack([stretched_mask(plane, shape) for plane in self.planes(mask)]))

    def spread(self, mask: Mask) -> npt.NDArray:
        return np.ascontiguousarray(self.planes(mask).transpose(1, 2, 0)).view(np.uint8)

    def gathered(self, spread: npt.NDArray) -> Mask:
        return self.mask(spread.transpose(2, 0, 1))

    def target(self, mask: Mask) -> npt.NDArray[np.uint8]:
        return self.planes(mask).view(np.uint8)

    def decided(self, codes: npt.NDArray[np.uint16], thresholds: Sequence[int]) -> Mask:
        return self.mask(codes >= np.asarray(thresholds, np.int64)[:, None, None])

    def strata(self, areas: npt.NDArray, pixels: npt.NDArray) -> Strata:
        return rarest_class_strata(areas, pixels, self.classes, None)
