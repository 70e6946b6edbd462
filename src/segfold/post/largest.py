"""Where a competition has a known number of objects an image, the smaller ones are false alarms."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Le

from segfold.post.step import Mask, MaskSizes, MaskStep, Seen


class Largest(MaskStep):
    """Keeps the largest 8-connected components; of equal ones those that come first, row by row.

    Args:
        count: how many stay at most.
    """

    open_ended = False

    def __init__(self, *, count: Annotated[int, Ge(1), Le(10**6)] = 1) -> None:
        self.count = count

    @classmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """Two, one."""
        return [{"count": count} for count in (2, 1)]

    def __call__(self, mask: Mask, seen: Seen) -> Mask:
        """H×W mask of at most ``count`` components."""
        count, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask, np.uint8), connectivity=8)
        if count - 1 <= self.count:
            return mask
        areas = stats[1:, cv2.CC_STAT_AREA]
        order = np.argsort(-areas, kind="stable")
        if areas[order[self.count - 1]] == areas[order[self.count]]:  # OpenCV numbers components block by block
            order = np.lexsort((np.unique(labels, return_index=True)[1][-len(areas) :], -areas))
        keep = np.zeros(count, np.uint8)
        keep[order[: self.count] + 1] = 1
        return keep[labels]
