"""The competition's metric at many thresholds and smallest components in a plain loop over numpy and OpenCV."""

from collections.abc import Sequence

import cv2
import numpy as np


def scores(codes: np.ndarray, truth: np.ndarray, thresholds: Sequence[int], areas: Sequence[int]) -> np.ndarray:
    """Mean precision over the IoU thresholds .50, .55, … .95 of each image in each way.

    Args:
        codes: N×H×W uint16 probabilities.
        truth: N×H×W masks of 0 and 1.
        thresholds: T codes from which a pixel is foreground.
        areas: A numbers of pixels; a component of fewer is left out.

    Returns:
        N×T×A.
    """
    found = np.empty((len(codes), len(thresholds), len(areas)))
    steps = np.arange(10, 20)
    for i, (image, mask) in enumerate(zip(codes, truth > 0)):
        for j, threshold in enumerate(thresholds):
            _, labels, stats, _ = cv2.connectedComponentsWithStats((image >= threshold).astype(np.uint8))
            for k, area in enumerate(areas):
                kept = stats[:, cv2.CC_STAT_AREA] >= area
                kept[0] = False
                predicted = kept[labels]
                union = np.count_nonzero(predicted | mask)
                if union == 0:
                    found[i, j, k] = 1.0
                else:
                    intersection = np.count_nonzero(predicted & mask)
                    found[i, j, k] = (20 * intersection > steps * union).mean()
    return found
