"""Pixel counts of predictions against truth: all that the metrics need to know.

The kernels are serial and release the GIL; images are shared out over a pool of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from segfold.cores import cores

Images = np.ndarray | Sequence[np.ndarray]

_PIXELS_PER_THREAD = 1 << 18  # less work than this is done before a thread has started
_PIXELS_PER_PIECE = 1 << 18  # looked at in one go by one thread


class Counts(NamedTuple):
    """Pixels of each image, int64 of shape N."""

    inter: np.ndarray
    union: np.ndarray
    pred_area: np.ndarray
    truth_area: np.ndarray


def overlap(pred: Images, truth: Images) -> Counts:
    """Counts the pixels of masks and truths; foreground is ``> 0``.

    Args:
        pred: N×H×W, or a sequence of N images H×W of any sizes.
        truth: the same sizes.
    """

    def count(p: np.ndarray, t: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return _overlap_kernel(_foreground(p), _foreground(t), ends)

    inter, pred_area, truth_area = _over_images(count, pred, truth, 3).T
    return Counts(inter, pred_area + truth_area - inter, pred_area, truth_area)


def _foreground(pixels: np.ndarray) -> np.ndarray:
    return (pixels if pixels.dtype == np.bool_ else pixels > 0).view(np.uint8)


def _over_images(
    count: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    one: Images,
    other: Images,
    columns: int,
) -> np.ndarray:
    """Calls count(pixels, pixels, ends) on images laid end to end; returns its rows, N×columns."""
    if len(one) != len(other):
        raise ValueError(f"{len(one)} predictions and {len(other)} truths: expected one for one")
    rows = np.empty((len(one), columns), np.int64)
    size = one[0].size if len(one) else 0
    threads = min(cores(), 1 + len(one) * size // _PIXELS_PER_THREAD)
    step = max(1, min(_PIXELS_PER_PIECE // max(size, 1), -(-len(one) // threads)))

    def piece(a: int) -> None:
        b = min(a + step, len(one))
        p, t = _images(one, a, b), _images(other, a, b)
        for i, (left, right) in enumerate(zip(p, t)):
            if left.shape != right.shape:
                raise ValueError(f"prediction {a + i} has shape {left.shape}, its truth {right.shape}")
        ends = np.cumsum([image.size for image in p])
        rows[a:b] = count(_end_to_end(p), _end_to_end(t), ends)

    starts = range(0, len(one), step)
    if threads == 1:
        for a in starts:
            piece(a)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(piece, starts))
    return rows


def _images(images: Images, a: int, b: int) -> Images:
    # A sequence may make an image when asked for it, and need not know slices.
    return images[a:b] if isinstance(images, np.ndarray) else [np.asarray(images[i]) for i in range(a, b)]


def _end_to_end(images: Images) -> np.ndarray:
    if isinstance(images, np.ndarray):
        return np.ascontiguousarray(images).reshape(-1)
    return np.concatenate([image.reshape(-1) for image in images])


@numba.njit(nogil=True, cache=True)
def _overlap_kernel(pred: np.ndarray, truth: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Flat 0/1 pixels and the end of each of n images, to n×3: intersection, areas of pred and truth."""
    out = np.zeros((ends.size, 3), np.int64)
    begin = np.int64(0)
    for i in range(ends.size):
        inter = np.int64(0)
        pred_area = np.int64(0)
        truth_area = np.int64(0)
        p, t = pred[begin : ends[i]], truth[begin : ends[i]]
        for j in range(p.size):
            inter += p[j] & t[j]
            pred_area += p[j]
            truth_area += t[j]
        out[i, 0], out[i, 1], out[i, 2] = inter, pred_area, truth_area
        begin = ends[i]
    return out
