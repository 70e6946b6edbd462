"""Small connected components are noise more often than they are salt, tumour or road."""

import cv2
import numpy as np
import numpy.typing as npt


class MinArea:
    """Removes 8-connected foreground components of fewer than ``min_area`` pixels; 0 and 1 remove nothing."""

    def __init__(self, *, min_area: int = 0) -> None:
        if min_area < 0:
            raise ValueError(f"min_area {min_area}: expected 0 or more pixels")
        self.min_area = min_area

    def __call__(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """H×W mask, foreground ``> 0`` -> uint8 {0, 1} of the same size, a new array."""
        binary = np.ascontiguousarray(mask > 0, np.uint8)
        if self.min_area <= 1 or not binary.any():
            return binary
        _, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
        keep = stats[:, cv2.CC_STAT_AREA] >= self.min_area
        keep[0] = False  # the background
        return keep[labels].astype(np.uint8)
