"""Intersection over union of the foreground, of each image or of a whole set."""

import numpy as np


def image_iou(inter: np.ndarray, union: np.ndarray, pred_area: np.ndarray, truth_area: np.ndarray) -> np.ndarray:
    """IoU of each image from its pixel counts; 1 where both masks are empty.

    Example:
        >>> image_iou(np.array([3, 0]), np.array([4, 0]), None, None)
        array([0.75, 1.  ])
    """
    inter, union = np.asarray(inter), np.asarray(union)
    return np.where(union == 0, 1.0, inter / np.maximum(union, 1))


def dataset_iou(inter: np.ndarray, union: np.ndarray) -> float:
    """IoU of all images taken as one: large masks weigh more; it is not the mean of ``image_iou``."""
    total = int(np.sum(union))
    return int(np.sum(inter)) / total if total else 1.0
