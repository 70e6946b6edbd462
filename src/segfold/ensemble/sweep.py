"""Every threshold and every minimum component area of an image, in one pass over its pixels.

Lowering the threshold only adds pixels, and pixels only join components: a union-find over the pixels by
falling code knows the components at every threshold on the way. It begins with the runs of pixels that reach the
highest threshold; only the few pixels between two thresholds are added one by one. Areas are summed in classes, one a
minimum area, so a threshold costs a sum over the classes rather than a new labelling of the image.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from segfold.metrics.matching import find_root

_SHORT = 1 << 29  # pixels whose doubled numbers fit into 32 bits, with a border too


@numba.njit(nogil=True, cache=True)
def _joined(one: Any, other: Any, parent: Any, area: Any, inter: Any) -> Any:
    """The root of two components that become one, given their roots."""
    if area[other] > area[one]:
        one, other = other, one
    parent[other] = one
    area[one] += area[other]
    inter[one] += inter[other]
    return one


@numba.njit(nogil=True, cache=True)
def _label_run(first: Any, last: Any, wide: Any, parent: Any, area: Any, inter: Any) -> None:
    """Makes the pixels of a row from ``first`` to ``last`` one component, with all that it touches in the row above."""
    area[first] = last - first + 1
    for pixel in range(first, last + 1):
        parent[pixel] = first
    root = first
    above = first - wide - 1
    while above <= last - wide + 1:
        if parent[above] >= 0:
            other = find_root(parent, above)
            if other != root:
                root = _joined(root, other, parent, area, inter)
            # The pixels beside it are of the same component.
            while parent[above] >= 0:
                above += 1
        above += 1


@numba.njit(nogil=True, cache=True)
def _sweep(codes: Any, truth: Any, reach: Any, class_of: Any, count: Any, classes: Any, index: Any) -> Any:
    height, width = codes.shape
    wide = width + 2  # pixels are numbered with a border around them, which is never foreground
    kind = index.dtype  # of these numbers, doubled
    parent = np.full((height + 2) * wide, -1, kind)  # -1: not foreground yet
    area = np.empty(parent.size, kind)  # of the component, at its root
    inter = np.empty(parent.size, kind)

    # What reaches the highest threshold is labelled run by run; of the rest is noted what reaches any.
    roots = np.empty(height * ((width + 1) // 2), kind)
    runs = 0
    between = np.empty((height * width, 2), kind)  # 2 · number + whether it is true, and thresholds that it reaches
    some = 0
    starts = np.zeros(count + 2, np.int64)
    truth_area = 0
    for y in range(height):
        first = -1
        found = 0
        begin = (y + 1) * wide + 1
        for x in range(width):
            level = reach[codes[y, x]]
            true = truth[y, x] > 0
            truth_area += true
            if level == count:
                if first < 0:
                    first = begin + x
                    found = 0
                found += true
                continue
            if first >= 0:
                inter[first] = found
                _label_run(first, begin + x - 1, wide, parent, area, inter)
                roots[runs] = first
                runs += 1
                first = -1
            if level > 0:
                between[some, 0] = 2 * (begin + x) + true
                between[some, 1] = level
                some += 1
                starts[level + 1] += 1
        if first >= 0:
            inter[first] = found
            _label_run(first, begin + width - 1, wide, parent, area, inter)
            roots[runs] = first
            runs += 1

    # The others in order of the number of thresholds that they reach: a counting sort.
    starts = np.cumsum(starts)
    ordered = np.empty(some, kind)
    place = starts.copy()
    for position in range(some):
        level = between[position, 1]
        ordered[place[level]] = between[position, 0]
        place[level] += 1

    top = class_of.size - 1
    held = np.zeros((classes + 1, 2), np.int64)  # area and intersection by class; the last class is never kept
    for position in range(runs):
        root = roots[position]
        if parent[root] == root:
            its_class = class_of[min(area[root], top)]
            held[its_class, 0] += area[root]
            held[its_class, 1] += inter[root]
    around = np.array([-wide - 1, -wide, -wide + 1, -1, 1, wide - 1, wide, wide + 1])
    kept = np.zeros((count, classes, 2), np.int64)
    for level in range(count, 0, -1):
        for position in range(starts[level], starts[level + 1]):
            pixel = ordered[position] >> 1
            root = pixel
            parent[pixel] = pixel
            area[pixel] = 1
            inter[pixel] = ordered[position] & 1
            # The component of this pixel is in no class until all its neighbours have joined it.
            for step in around:
                if parent[pixel + step] < 0:
                    continue
                other = find_root(parent, pixel + step)
                if other == root:
                    continue
                its_class = class_of[min(area[other], top)]
                held[its_class, 0] -= area[other]
                held[its_class, 1] -= inter[other]
                root = _joined(root, other, parent, area, inter)
            its_class = class_of[min(area[root], top)]
            held[its_class, 0] += area[root]
            held[its_class, 1] += inter[root]
        area_sum, inter_sum = 0, 0
        for least in range(classes - 1, -1, -1):
            area_sum += held[least, 0]
            inter_sum += held[least, 1]
            kept[level - 1, least, 0] = area_sum
            kept[level - 1, least, 1] = inter_sum
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
        self._reach = np.searchsorted(codes, np.arange(65536), side="right").astype(np.int32)
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
        index = np.empty(0, np.int32 if codes.size < _SHORT else np.int64)
        kept, truth_area = _sweep(codes, truth, self._reach, self._class_of, *self.shape, index)
        return kept[..., 1], kept[..., 0], int(truth_area)
