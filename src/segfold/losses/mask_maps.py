"""Maps over an image's pixels that losses make of its mask, on the CPU, once for all heads."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

BACKGROUND, OBJECT = 1, 2
"""Marks of valid pixels; the others are 0."""


class MaskMaps:
    """Remembers the maps of the last masks: a network's heads are compared with the same ones, call after call.

    Args:
        make: marks N×C×H×W uint8 to maps N×C×H×W float32.
    """

    def __init__(self, make: Callable[[np.ndarray], np.ndarray]) -> None:
        self._make = make
        self._marks = np.empty(0, np.uint8)
        self._maps = np.empty(0, np.float32)

    def __call__(self, target: Tensor, valid: Tensor | None, size: tuple[int, ...]) -> Tensor:
        """The maps of N×C×P targets (object: above 0.5) of images of H×W = ``size``; N×C×P on the targets' device."""
        marks = (target > 0.5).to(torch.uint8) * (OBJECT - BACKGROUND) + BACKGROUND
        if valid is not None:
            marks = marks * valid
        found = marks.reshape(*target.shape[:2], *size).cpu().numpy()
        if not np.array_equal(found, self._marks):
            self._marks, self._maps = found, self._make(found)
        return torch.from_numpy(self._maps).to(target.device).reshape(target.shape)


def distance_to(pixels: np.ndarray) -> np.ndarray:
    """Euclidean distance of every pixel to the nearest of ``pixels`` (H×W bool, not empty), H×W float32."""
    return cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
