"""Probabilities are smoother than what networks of strided maps make of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Gt, Le

from segfold.post.step import Codes, MaskSizes, ProbabilityStep, Seen

_SHARES = (0.005, 0.01, 0.02)


class Smooth(ProbabilityStep):
    """Smooths the probabilities with a Gaussian; beyond the border the image is mirrored.

    Args:
        sigma: deviation in pixels.
    """

    def __init__(self, *, sigma: Annotated[float, Gt(0), Le(1000)] = 1.0) -> None:
        self.sigma = sigma

    @classmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """One half, one and two hundredths of the largest image's side."""
        side = math.sqrt(sizes.pixels)
        return [{"sigma": sigma} for sigma in sorted({max(round(side * share, 1), 0.1) for share in _SHARES})]

    def __call__(self, codes: Codes, seen: Seen) -> Codes:
        """H×W codes, smoothed and rounded."""
        width = 2 * math.ceil(4 * self.sigma) + 1
        smoothed = cv2.GaussianBlur(codes.astype(np.float32), (width, width), self.sigma, borderType=cv2.BORDER_REFLECT)
        return np.clip(np.rint(smoothed), 0, 65535).astype(np.uint16)
