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

_CODES = 1 << 16  # probabilities are stored as uint16 codes
_PIXELS_PER_THREAD = 1 << 18  # less work than this is done before a thread has started
_PIXELS_PER_PIECE = 1 << 18  # looked at in one go by one thread


class Counts(NamedTuple):
    """Pixels of each image, int64 of shape N, or N×T for T thresholds (`truth_area` then N×1)."""

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


def threshold_counts(codes: Images, truth: Images, thresholds: Sequence[int] | np.ndarray) -> Counts:
    """Counts the pixels at every threshold in one pass over the image.

    Each pixel falls into the histogram bin between two thresholds; sums from the top of the histogram then
    are the areas above each threshold.

    Args:
        codes: uint16 probabilities N×H×W (65535 is 1), or a sequence of N images H×W of any sizes.
        truth: the same sizes, foreground is ``> 0``.
        thresholds: T codes in any order; a pixel is foreground if its code is >= the threshold.
    """
    bins, order = _bins(thresholds)

    def count(c: np.ndarray, t: np.ndarray, ends: np.ndarray) -> np.ndarray:
        if c.dtype != np.uint16:
            raise ValueError(f"codes of dtype {c.dtype}: expected uint16, floor(65535 * p + 0.5)")
        return _threshold_kernel(c, _foreground(t), ends, bins, len(order)).reshape(len(ends), -1)

    areas = _over_images(count, codes, truth, 2 * (len(order) + 1)).reshape(-1, 2, len(order) + 1)
    truth_area = areas[:, 1, :1]
    above = np.empty((len(areas), 2, len(order)), np.int64)
    above[:, :, order] = areas[:, :, 1:]
    inter, pred_area = above[:, 1], above.sum(axis=1)
    return Counts(inter, pred_area + truth_area - inter, pred_area, truth_area)


def _bins(thresholds: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each code the number of thresholds that it reaches, and the order that sorts the thresholds."""
    values = np.asarray(thresholds)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise ValueError(f"thresholds {values.dtype} of shape {values.shape}: expected a list of integer codes")
    order = np.argsort(values, kind="stable")
    # The smaller the table, the more of it stays in the first-level cache.
    dtype = np.uint8 if values.size < 256 else np.uint32
    reached = np.searchsorted(values[order], np.arange(_CODES), side="right")
    return reached.astype(dtype), order


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


@numba.njit(nogil=True, cache=True)
def _threshold_kernel(
    codes: np.ndarray, truth: np.ndarray, ends: np.ndarray, bins: np.ndarray, thresholds: int
) -> np.ndarray:
    """Flat codes and 0/1 truth of n images, to n×2×(T+1): pixels out of and in the truth from each bin up."""
    out = np.zeros((ends.size, 2, thresholds + 1), np.int64)
    # Two histograms in turn: neighbouring pixels mostly share a bin, and would wait for each other's sum.
    histogram = np.empty((4, thresholds + 1), np.int64)
    begin = np.int64(0)
    for i in range(ends.size):
        histogram[:] = 0
        c, inside = codes[begin : ends[i]], truth[begin : ends[i]]
        for j in range(c.size):
            histogram[2 * (j & 1) + inside[j], bins[c[j]]] += 1
        begin = ends[i]
        for side in range(2):
            above = np.int64(0)
            for t in range(thresholds, -1, -1):
                above += histogram[side, t] + histogram[2 + side, t]
                out[i, side, t] = above
    return out
