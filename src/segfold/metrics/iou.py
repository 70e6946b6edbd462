"""Intersection over union of the foreground, of each image."""

import numpy as np


def image_iou(inter: np.ndarray, union: np.ndarray, pred_area: np.ndarray, truth_area: np.ndarray) -> np.ndarray:
    """IoU of each image from its pixel counts; 1 where both masks are empty.

    Example:
        >>> image_iou(np.array([3, 0]), np.array([4, 0]), None, None)
        array([0.75, 1.  ])
    """
    inter, union = np.asarray(inter), np.asarray(union)
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))
