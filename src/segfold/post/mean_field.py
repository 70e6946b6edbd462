"""Inference in fully connected CRFs by mean field (Krähenbühl and Koltun, NIPS 2011).

Neighbouring pixels that differ in class cost what a sum of weighted kernels says (Potts): in each step a pixel's class gains
what the kernels gather of its probability from all pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from segfold.post.gaussians import Filter
from segfold.post.lattice import Floats

LEAST = 1e-5
"""Probability below which none counts as smaller: a network that is sure could never be changed."""

Gathered = Callable[[Floats], Floats]
"""N×L probabilities to what the kernels gather of them."""


def gathered(filters: Sequence[tuple[float, Filter]]) -> Gathered:
    """Of kernels with their weights."""

    def gather(planes: Floats) -> Floats:
        sums = np.zeros_like(planes)
        for weight, each in filters:
            if weight:
                each.add(planes, weight, sums)
        return sums

    return gather


def mean_field(probability: Floats, gather: Gathered, iterations: int) -> Floats:
    """Probabilities of classes that exclude each other.

    Args:
        probability: N×L of a network, of each pixel about 1 in all.

    Returns:
        N×L, of each pixel 1 in all.
    """
    unary = np.log(np.clip(probability, LEAST, 1), dtype=np.float32)
    found = unary.copy()
    _softmax(found)
    for _ in range(iterations):
        found = gather(found)
        found += unary
        _softmax(found)
    return found


def mean_field_of_two(probability: Floats, gather: Gathered, iterations: int) -> Floats:
    """Probabilities of classes that are each by themselves: each plane against its complement.

    What the kernels gather of a complement is what they gather of ones, less what they gather of the plane.

    Args:
        probability: N×L, of each class.
    """
    clipped = np.clip(probability, LEAST, 1 - LEAST)
    unary = np.log(clipped) - np.log1p(-clipped)
    unary -= gather(np.ones((len(probability), 1), np.float32))
    found = clipped
    for _ in range(iterations):
        found = gather(found)
        found *= 2
        found += unary
        np.negative(found, out=found)
        with np.errstate(over="ignore"):  # infinite odds against are a probability of 0
            np.exp(found, out=found)
        found += 1
        np.reciprocal(found, out=found)
    return found


@numba.njit(nogil=True, cache=True)
def _softmax(rows: Any) -> None:
    """Of each row, in place."""
    for p in range(len(rows)):
        most = rows[p, 0]
        for k in range(1, rows.shape[1]):
            most = max(most, rows[p, k])
        total = np.float32(0)
        for k in range(rows.shape[1]):
            rows[p, k] = np.exp(rows[p, k] - most)
            total += rows[p, k]
        for k in range(rows.shape[1]):
            rows[p, k] /= total
