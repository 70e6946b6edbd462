"""The competition's metric at many thresholds in a plain numpy loop, over images and thresholds."""

from collections.abc import Sequence

import numpy as np


def scores(codes: np.ndarray, truth: np.ndarray, thresholds: Sequence[int]) -> np.ndarray:
    """Mean precision over the IoU thresholds .50, .55, … .95 of each image at each threshold.

    Args:
        codes: N×H×W uint16 probabilities.
        truth: N×H×W masks of 0 and 1.
        thresholds: T codes from which a pixel is foreground.

    Returns:
        N×T.
    """
    found = np.empty((len(codes), len(thresholds)))
    steps = np.arange(10, 20)
    for i, (image, mask) in enumerate(zip(codes, truth > 0)):
        for j, threshold in enumerate(thresholds):
            predicted = image >= threshold
            union = np.count_nonzero(predicted | mask)
            if union == 0:
                found[i, j] = 1.0
            else:
                intersection = np.count_nonzero(predicted & mask)
                found[i, j] = (20 * intersection > steps * union).mean()
    return found
