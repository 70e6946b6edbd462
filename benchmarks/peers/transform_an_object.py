"""The gaps between objects as U-Net's border weights are usually computed: scipy's distance transform of each object in turn."""

import numpy as np
from scipy.ndimage import distance_transform_edt


def gaps(objects: np.ndarray) -> np.ndarray:
    """Distances to the nearest and the second nearest object, added up: H×W float32, infinite on objects.

    Args:
        objects: H×W numbers of objects, 0 for none; at least two.
    """
    nearest = np.full(objects.shape, np.inf)
    second = nearest.copy()
    for number in np.unique(objects)[1:]:
        distance = distance_transform_edt(objects != number)
        np.minimum(second, np.maximum(nearest, distance), out=second)
        np.minimum(nearest, distance, out=nearest)
    return np.where(objects == 0, nearest + second, np.inf).astype(np.float32)
