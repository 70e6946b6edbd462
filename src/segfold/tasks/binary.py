"""One class: a pixel has it or not."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segfold.resize import Shape, stretched_mask
from segfold.tasks.base import Mask, Planes, Task
from segfold.tasks.strata import Strata, coverage_strata


class Binary(Task):
    """Masks are H×W uint8 of 0 and 1."""

    name = "binary"
    dtype = np.uint8

    def planes(self, mask: Mask) -> Planes:
        return (mask > 0)[None]

    def mask(self, planes: npt.NDArray) -> Mask:
        return (planes[0] != 0).astype(np.uint8)

    def read(self, values: npt.NDArray, void: int | None, where: str) -> Mask:
        return (values > 0).astype(np.uint8)

    def resized(self, mask: Mask, shape: Shape) -> Mask:
        return stretched_mask(mask, shape)

    def target(self, mask: Mask) -> npt.NDArray[np.uint8]:
        return mask[None]

    def decided(self, codes: npt.NDArray[np.uint16], thresholds: Sequence[int]) -> Mask:
        return (codes[0] >= thresholds[0]).astype(np.uint8)

    def strata(self, areas: npt.NDArray, pixels: npt.NDArray) -> Strata:
        return coverage_strata(np.asarray(areas).reshape(len(pixels), 1)[:, 0] / pixels)
