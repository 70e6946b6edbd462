"""Sums of members' values, and the codes of these: serial kernels that release the GIL."""

from typing import Any

import numba
import numpy as np

from segfold.store.codes import TOP

ONE = 1 << 31
"""A power of 1."""
FINE = 15
"""Bits of an exponent that the second row of a table of powers is for; the first one has the 16 above."""


@numba.njit(nogil=True, cache=True)
def add(total: Any, codes: Any, weight: Any) -> None:
    for place in range(codes.size):
        total[place] += weight * codes[place]


@numba.njit(nogil=True, cache=True)
def add_looked_up(total: Any, codes: Any, table: Any, weight: Any) -> None:
    for place in range(codes.size):
        total[place] += weight * table[codes[place]]


@numba.njit(nogil=True, cache=True)
def _nearest(value: Any, whole: Any, once: Any) -> Any:
    # Dividing whole numbers takes ten times as long; what rounding does to the quotient is mended by the rest.
    quotient = np.int64(value * once + 0.5)
    rest = 2 * (value - quotient * whole)
    return quotient + (rest >= whole) - (rest < -whole)


@numba.njit(nogil=True, cache=True)
def divide(total: Any, whole: Any, found: Any) -> None:
    """The whole number that is nearest to ``total / whole``, the upper one of two."""
    once = 1.0 / whole
    for place in range(total.size):
        found[place] = _nearest(total[place], whole, once)


@numba.njit(nogil=True, cache=True)
def look_up(total: Any, whole: Any, edges: Any, start: Any, found: Any) -> None:
    """The largest code whose edge is at most ``total / whole``."""
    lowest, steps = edges[1], start.size - 1
    scale = steps / (edges[TOP] - lowest) / whole
    begin = np.float64(lowest) * whole
    for place in range(total.size):
        step = np.int64((total[place] - begin) * scale)
        # A step to each side, for the place may be rounded into the next one.
        low = start[min(max(step - 1, 0), steps)] if step > 0 else 0
        high = start[min(step + 2, steps)] if step >= 0 else start[0]
        while low < high:
            middle = (low + high + 1) // 2
            if edges[middle] * whole <= total[place]:
                low = middle
            else:
                high = middle - 1
        found[place] = low


@numba.njit(nogil=True, cache=True)
def count(found: Any, codes: Any) -> None:
    for place in range(codes.size):
        found[codes[place]] += 1


@numba.njit(nogil=True, cache=True)
def shares(total: Any, whole: int, members: int, powers: Any, found: Any) -> None:
    """The codes of products of probabilities, each divided by the sum over its pixel's classes.

    Args:
        total: C×n sums of weighted logarithms.
        whole: sum of the weights.
        members: times the mean logarithm is that of the product.
        powers: 2×65536, ``ONE`` times e to minus so many units of a logarithm: of the upper bits, and of the ``FINE`` lower.
        found: C×n, to be set. The class of the greatest total is the first of those with the highest code: an earlier one
            that would be rounded to the same gets one less, so that the codes decide as the totals do.
    """
    planes, size = total.shape
    once, farthest = 1.0 / whole, (whole << 31) // members
    power = np.empty(planes, np.int64)
    for place in range(size):
        best = 0
        for plane in range(1, planes):
            if total[plane, place] > total[best, place]:
                best = plane
        top, together = total[best, place], np.int64(0)
        for plane in range(planes):
            behind = top - total[plane, place]
            power[plane] = 0
            if behind < farthest:
                units = _nearest(members * behind, whole, once)
                if units < ONE:
                    product = powers[0, units >> FINE] * powers[1, units & ((1 << FINE) - 1)]
                    power[plane] = (product + (ONE >> 1)) >> 31
            together += power[plane]
        for plane in range(planes):
            found[plane, place] = _nearest(TOP * power[plane], together, 1.0 / together)
        for plane in range(best):
            found[plane, place] -= found[plane, place] == found[best, place]
