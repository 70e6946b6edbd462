"""Dice coefficient of the foreground, ``2 TP / (2 TP + FP + FN)``, of each image."""

import numpy as np


def image_dice(inter: np.ndarray, union: np.ndarray, pred_area: np.ndarray, truth_area: np.ndarray) -> np.ndarray:
    """Dice of each image from its pixel counts; 1 where both masks are empty.

    Example:
        >>> image_dice(np.array([3, 0]), np.array([5, 0]), None, None)
        array([0.75, 1.  ])
    """
    inter, union = np.asarray(inter), np.asarray(union)
    # inter + union is the sum of both areas.
    return np.where(union == 0, 1.0, 2 * inter / np.maximum(inter + union, 1))
