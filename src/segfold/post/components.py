"""Small connected components are noise more often than they are salt, tumour or road."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Le

from segfold.post.areas import areas_up_to
from segfold.post.step import Mask, MaskSizes, MaskStep, Seen


class MinArea(MaskStep):
    """Removes 8-connected foreground components that are too small.

    Args:
        min_area: pixels of the smallest component that stays; 0 and 1 remove nothing.
    """

    def __init__(self, *, min_area: Annotated[int, Ge(0), Le(10**9)] = 0) -> None:
        self.min_area = min_area

    @classmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """Up to the fullest true mask."""
        return [{"min_area": area} for area in areas_up_to(sizes.fullest) if area > 0]

    def __call__(self, mask: Mask, seen: Seen) -> Mask:
        """H×W mask without its small components."""
        if self.min_area <= 1 or not mask.any():
            return mask
        _, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask, np.uint8), connectivity=8)
        keep = stats[:, cv2.CC_STAT_AREA] >= self.min_area
        keep[0] = False  # the background
        return keep[labels].astype(np.uint8)
