"""Every threshold and every minimum component area of an image, in one pass over its pixels.

Lowering the threshold only adds pixels, and pixels only join components: a union-find over the pixels by
falling code knows the components at every threshold on the way. Their areas are summed in classes, one a
minimum area, so a threshold costs a sum over the classes rather than a new labelling of the image.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from segfold.metrics.matching import find_root

_LARGE = 1 << 20  # pixels


@numba.njit(nogil=True, cache=True)
def _sweep(codes: Any, truth: Any, reach: Any, class_of: Any, count: int, classes: int, index: Any) -> Any:
    height, width = codes.shape
    kind = index.dtype  # of places of pixels
    # Pixels in order of the number of thresholds that they reach: a counting sort.
    starts = np.zeros(count + 2, np.int64)
    truth_area = 0
    for y in range(height):
        for x in range(width):
            starts[reach[codes[y, x]] + 1] += 1
            truth_area += truth[y, x] > 0
    starts = np.cumsum(starts)
    ordered = np.empty(height * width, kind)
    place = starts.copy()
    for y in range(height):
        for x in range(width):
            level = reach[codes[y, x]]
            ordered[place[level]] = y * width + x
            place[level] += 1

    parent = np.full(height * width, -1, kind)  # -1: not foreground yet
    area = np.zeros(height * width, kind)  # of the component, at its root
    inter = np.zeros(height * width, kind)
    top = class_of.size - 1
    held = np.zeros((classes + 1, 2), np.int64)  # area and intersection by class; the last class is never kept
    kept = np.zeros((count, classes, 2), np.int64)
    for level in range(count, 0, -1):
        for position in range(starts[level], starts[level + 1]):
            pixel = ordered[position]
            y, x = pixel // width, pixel % width
            root = pixel
            parent[pixel] = pixel
            area[pixel] = 1
            inter[pixel] = truth[y, x] > 0
            # The component of this pixel is in no class until all its neighbours have joined it.
            for ny in range(max(0, y - 1), min(height, y + 2)):
                for nx in range(max(0, x - 1), min(width, x + 2)):
                    if parent[ny * width + nx] < 0:
                        continue
                    other = find_root(parent, ny * width + nx)
                    if other == root:
                        continue
                    its_class = class_of[min(area[other], top)]
                    held[its_class, 0] -= area[other]
                    held[its_class, 1] -= inter[other]
                    if area[other] > area[root]:
                        root, other = other, root
                    parent[other] = root
                    area[root] += area[other]
                    inter[root] += inter[other]
            its_class = class_of[min(area[root], top)]
            held[its_class, 0] += area[root]
            held[its_class, 1] += inter[root]
        area_sum, inter_sum = 0, 0
        for index in range(classes - 1, -1, -1):
            area_sum += held[index, 0]
            inter_sum += held[index, 1]
            kept[level - 1, index, 0] = area_sum
            kept[level - 1, index, 1] = inter_sum
    return kept, truth_area


class Sweep:
    """Counts of an image for all T thresholds and A minimum areas."""

    def __init__(self, thresholds: Sequence[int] | npt.NDArray[Any], areas: Sequence[int] | npt.NDArray[Any]) -> None:
        """
        Args:
            thresholds: (T,) increasing codes; foreground is ``codes >= threshold``.
            areas: (A,) increasing, 0 or more; an 8-connected component of at least so many pixels stays.
        """
        codes, pixels = np.asarray(thresholds, np.int64), np.asarray(areas, np.int64)
        if not codes.size or (np.diff(codes) <= 0).any() or codes[0] < 0 or codes[-1] > 65535:
            raise ValueError(f"thresholds {thresholds}: expected increasing codes of 0 to 65535")
        if not pixels.size or (np.diff(pixels) <= 0).any() or pixels[0] < 0:
            raise ValueError(f"areas {areas}: expected increasing numbers of pixels")
        self.shape = (codes.size, pixels.size)
        self._reach = np.searchsorted(codes, np.arange(65536), side="right")
        # Class of a component: the largest minimum area that it reaches; the last class if it reaches none.
        # Of the smallest type, for the table is as long as the largest area.
        classes = np.arange(-1, pixels.size).astype(np.min_scalar_type(pixels.size))
        classes[0] = pixels.size
        self._class_of = np.repeat(classes, np.diff([0, *pixels, pixels[-1] + 1]))

    def __call__(
        self, codes: npt.NDArray[np.uint16], truth: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
        """
        Args:
            codes: H×W.
            truth: H×W, foreground is ``> 0``.

        Returns:
            (T, A) intersection with the truth, (T, A) area of what stays, area of the truth.
        """
        if codes.shape != truth.shape:
            raise ValueError(f"codes of {codes.shape}, truth of {truth.shape}: expected one size")
        # Half the memory for a large image; of a small one, whose numbers stay in the cache, the longer ones are faster.
        index = np.empty(0, np.int32 if _LARGE <= codes.size < 1 << 31 else np.int64)
        kept, truth_area = _sweep(codes, truth, self._reach, self._class_of, *self.shape, index)
        return kept[..., 1], kept[..., 0], int(truth_area)
