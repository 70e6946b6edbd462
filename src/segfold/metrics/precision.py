"""The TGS metric: mean precision over the IoU thresholds .50, .55, … .95 of one mask an image.

An image is a hit at a threshold if its IoU is *greater* than it, so IoU = .50 scores 0 and IoU = 1 scores 1.
Floating point leaves the exact cases to rounding (``18 / 20 > np.linspace(.5, .95, 10)[8]`` is true), hence
integers: hit k is ``20 * inter > union * (10 + k)``. Both masks empty scores 1, exactly one of them empty 0.
"""

from collections.abc import Callable

import numpy as np

from segfold.metrics.areas import Images, overlap

# (inter, union, pred_area, truth_area) -> score, elementwise on integer arrays of any one shape
ImageScore = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def score_counts(inter: np.ndarray, union: np.ndarray, pred_area: np.ndarray, truth_area: np.ndarray) -> np.ndarray:
    """Scores images by their pixel counts.

    The areas are not needed (one empty mask has no intersection); they stand here because every metric in
    ``IMAGE_SCORES`` is called alike.

    Returns:
        Multiples of 0.1 in 0…1, of the shape of ``inter``.

    Example:
        >>> score_counts(np.array([50, 72, 95, 100, 0]), np.array([100, 100, 100, 100, 0]), None, None)
        array([0. , 0.5, 0.9, 1. , 1. ])
    """
    inter, union = np.asarray(inter, np.int64), np.asarray(union, np.int64)
    # The k below 20 IoU - 10: all up to its next whole number, by division of integers, which rounds down.
    hits = np.clip(-(-20 * inter // np.maximum(union, 1)) - 10, 0, 10)
    return np.where(union == 0, 10, hits) / 10


def counts(pred: Images, truth: Images) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union of each image, N integers each; N×H×W masks, foreground is ``> 0``."""
    both = overlap(pred, truth)
    return both.inter, both.union


def score(pred: Images, truth: Images) -> np.ndarray:
    """Scores N×H×W masks (or N masks of any sizes), foreground ``> 0``; a set's score is the mean."""
    return score_counts(*overlap(pred, truth))
