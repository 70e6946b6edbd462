"""Images and masks moved by OpenCV: bilinear and reflected, or of the nearest pixel and filled (see ``Step.mask_fill``)."""

from collections.abc import Callable

import cv2
import numpy as np

from segfold.resize import Shape

BORDER = cv2.BORDER_REFLECT_101


def between(matrix: np.ndarray, before: Shape, after: Shape) -> np.ndarray:
    """A matrix of a window's coordinates as one of arrays' in which the window lies that far from the top and the left.

    Args:
        matrix: 2×3 or 3×3, of (x, y).
        before: rows and columns above and before the window in the array that the matrix takes.
        after: in the array that it gives.
    """
    moved = np.array(matrix, np.float64)
    moved[:2, 2] += np.array(after[::-1]) - moved[:2, :2] @ np.array(before[::-1])
    return moved


def warp(array: np.ndarray, matrix: np.ndarray, shape: Shape, flags: int = 0) -> np.ndarray:
    """An image through a 2×3 matrix, bilinearly; ``shape`` is that of the result, ``flags`` are OpenCV's further ones."""
    return _by_channels(
        array, lambda part: cv2.warpAffine(part, matrix, shape[::-1], flags=cv2.INTER_LINEAR | flags, borderMode=BORDER)
    )


def warp_mask(mask: np.ndarray, matrix: np.ndarray, shape: Shape, fill: int | None, flags: int = 0) -> np.ndarray:
    """``fill``: see ``Step.mask_fill``; the rest as of ``warp``."""
    if fill is None:
        return warp(mask, matrix, shape, flags)
    how = cv2.INTER_NEAREST | flags
    return cv2.warpAffine(mask, matrix, shape[::-1], flags=how, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)


def remap(
    image: np.ndarray, mask: np.ndarray, fill: int | None, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask whose every pixel comes from column ``x`` and row ``y``."""

    def moved(part: np.ndarray) -> np.ndarray:
        return cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=BORDER)

    if fill is None:
        return _by_channels(image, moved), _by_channels(mask, moved)
    nearest = cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return _by_channels(image, moved), nearest


def _by_channels(array: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Applies a function of OpenCV's, which takes up to four channels and drops the axis of a single one."""
    if array.ndim == 2 or array.shape[2] in (2, 3, 4):
        return function(array)
    if array.shape[2] == 1:
        return function(array)[:, :, np.newaxis]
    parts = [np.ascontiguousarray(array[:, :, first : first + 4]) for first in range(0, array.shape[2], 4)]
    moved = ((function(part), part.shape[2]) for part in parts)
    return np.concatenate([part.reshape(*part.shape[:2], channels) for part, channels in moved], axis=2)
