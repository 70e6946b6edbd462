"""Holes in an object are mostly where a network was in doubt."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Le

from segfold.post.areas import even_ratios
from segfold.post.step import Mask, MaskSizes, MaskStep, Seen


class Holes(MaskStep):
    """Fills 4-connected parts of the background that do not reach the image's border.

    Args:
        max_area: pixels of the largest hole that is filled.
    """

    def __init__(self, *, max_area: Annotated[int, Ge(0), Le(10**9)] = 100) -> None:
        self.max_area = max_area

    @classmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """Three areas up to the fullest true mask."""
        return [{"max_area": area} for area in even_ratios(5, max(sizes.fullest, 5), 3)]

    def __call__(self, mask: Mask, seen: Seen) -> Mask:
        """H×W mask with its small holes filled."""
        background = np.ascontiguousarray(mask == 0, np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
        fill = stats[:, cv2.CC_STAT_AREA] <= self.max_area
        fill[0] = False  # what is foreground already
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            fill[edge] = False
        return mask | fill[labels].astype(np.uint8) if fill.any() else mask
