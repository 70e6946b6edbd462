"""Gaussian filters of many planes at once, each normalised from both sides, as dense CRFs take them.

A filter is the matrix K of exp(-|difference|² / 2) between all pixels, itself too, and gives D^-½ K D^-½ of a plane, where D
has the sums of K's rows: a symmetric filter whose rows add up to about 1 (NORMALIZE_SYMMETRIC of Krähenbühl's code).
"""

import math
from typing import Any, Protocol

import numba
import numpy as np

from segfold.post.lattice import USUAL, Floats, Lattice, beside, lattice_of, with_ring

DENSE = 2048
"""Vertices up to which each is filtered with each, a matrix of at most 16 MiB."""
FINEST = 4.0
RINGED = 1 << 16
"""Vertices up to which those next to them are made too, for what is spread to them and on."""
REACH = 4
"""Deviations beyond which a Gaussian of positions is cut off."""
PIECE = 2048


class Filter(Protocol):
    """A normalised Gaussian filter."""

    def add(self, planes: Floats, weight: float, sums: Floats) -> None:
        """Adds ``weight`` times the filtered planes to ``sums``; both N×L float32 of N pixels."""


class PointFilter:
    """By the differences of points in any space, in deviations, with a lattice.

    Where few vertices hold all points, the lattice is made as fine as ``DENSE`` vertices allow, and the Gaussian between
    them is exact: what is left is the error of the interpolation. Else vertices are spread along the axes.
    """

    def __init__(self, points: Floats) -> None:
        """
        Args:
            points: N×d.
        """
        lattice = lattice_of(points)
        self._dense = len(lattice.keys) <= DENSE
        if self._dense:
            lattice = _finest(points, lattice)
            self._between = _gaussian(lattice)
            self.count = len(lattice.keys)
        else:
            self._beside = beside(with_ring(lattice.keys, RINGED))
            self.count = self._beside.shape[1]
        self.vertices, self.weights = lattice.vertices, lattice.weights
        sums = np.zeros((len(points), 1), np.float32)
        self.add(np.ones_like(sums), 1.0, sums)
        self.weights = np.divide(lattice.weights, np.sqrt(sums), dtype=np.float32)

    def add(self, planes: Floats, weight: float, sums: Floats) -> None:
        values = _splat(planes, self.vertices, self.weights, self.count)
        values = _times(self._between, values) if self._dense else _spread(values, self._beside)
        _slice(values, self.vertices, self.weights, np.float32(weight), sums)


def _finest(points: Floats, usual: Lattice) -> Lattice:
    """The finest lattice of at most ``DENSE`` vertices, or nearly, given the usual one."""
    fine = min(USUAL * (DENSE / len(usual.keys)) ** (1 / points.shape[1]), FINEST)
    lattice = usual
    while fine > USUAL:
        lattice = lattice_of(points, fine)
        if len(lattice.keys) <= DENSE:
            return lattice
        fine *= 0.9
    return usual


def _gaussian(lattice: Lattice) -> Floats:
    """M×M between vertices: with the interpolation, whose variance is 1 / 6 on the scale of keys, it has a variance of 1."""
    keys = lattice.keys
    squares = _squares(np.ascontiguousarray((keys - keys.min(axis=0)).T, np.float32))
    squares *= -0.5 / (keys.shape[1] ** 2 * (lattice.fine**2 - 1 / 6))
    return np.exp(squares, out=squares)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _squares(keys: Any) -> Any:
    axes, count = keys.shape
    squares = np.zeros((count, count), np.float32)
    for i in range(count):
        row = squares[i]
        for axis in range(axes):
            own = keys[axis, i]
            for j in range(count):
                difference = keys[axis, j] - own
                row[j] += difference * difference
    return squares


@numba.njit(nogil=True, cache=True, fastmath=True)
def _splat(planes: Any, vertices: Any, weights: Any, count: Any) -> Any:
    """(M+1)×L of what goes to each vertex; the last is of none, and 0."""
    width = planes.shape[1]
    values = np.zeros((count + 1, width), np.float32)
    for p in range(len(planes)):
        for r in range(vertices.shape[1]):
            weight, there = weights[p, r], vertices[p, r]
            for k in range(width):
                values[there, k] += weight * planes[p, k]
    return values


@numba.njit(nogil=True, cache=True, fastmath=True)
def _spread(values: Any, beside: Any) -> Any:
    """By ½, 1, ½ along one axis after the other."""
    spread = np.zeros_like(values)
    width = values.shape[1]
    half = np.float32(0.5)
    for axis in range(len(beside)):
        for v in range(beside.shape[1]):
            before, after = beside[axis, v]
            for k in range(width):
                spread[v, k] = values[v, k] + half * (values[before, k] + values[after, k])
        values, spread = spread, values
    return values


@numba.njit(nogil=True, cache=True, fastmath=True)
def _times(between: Any, values: Any) -> Any:
    """The M×M matrix times the first M rows."""
    count, width = len(between), values.shape[1]
    by_plane = np.ascontiguousarray(values[:count].T)
    found = np.empty((count, width), np.float32)
    for v in range(count):
        row = between[v]
        for k in range(width):
            plane = by_plane[k]
            total = np.float32(0)
            for other in range(count):
                total += row[other] * plane[other]
            found[v, k] = total
    return found


@numba.njit(nogil=True, cache=True, fastmath=True)
def _slice(values: Any, vertices: Any, weights: Any, weight: Any, sums: Any) -> None:
    for p in range(len(sums)):
        for r in range(vertices.shape[1]):
            share, there = weight * weights[p, r], vertices[p, r]
            for k in range(sums.shape[1]):
                sums[p, k] += share * values[there, k]


class PlaneFilter:
    """By the distance of pixels in the image alone: exact but for a tail beyond ``REACH`` deviations.

    Normalised or not, such a filter is one along the columns after one along the rows.
    """

    def __init__(self, shape: tuple[int, ...], deviation: float) -> None:
        """
        Args:
            shape: of the image, H×W.
            deviation: in pixels.
        """
        self.height, self.width = shape
        kernels = [_half(size, deviation) for size in shape]
        sums = [_along(np.ones(size, np.float32), size, 1, half) for size, half in zip(shape, kernels)]
        self.kernels = kernels
        self.scales = 1 / np.sqrt(np.outer(*sums).reshape(-1, 1))

    def add(self, planes: Floats, weight: float, sums: Floats) -> None:
        down, across = self.kernels
        width = planes.shape[1]
        filtered = _along((planes * self.scales).reshape(-1), self.height, self.width * width, down)
        filtered = _along(filtered, self.width, width, across)
        sums += filtered.reshape(sums.shape) * (np.float32(weight) * self.scales)


def _half(size: int, deviation: float) -> Floats:
    """A Gaussian from its middle to where it is cut off, or to the other end of so many pixels."""
    reach = min(math.ceil(REACH * deviation), size - 1)
    return np.exp(-0.5 * (np.arange(reach + 1) / deviation) ** 2, dtype=np.float64).astype(np.float32)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _along(values: Any, size: Any, step: Any, half: Any) -> Any:
    """Flat values filtered along an axis of ``size`` whose neighbours are ``step`` apart; beyond its ends lies nothing."""
    filtered = np.zeros_like(values)
    length = size * step
    for begin in range(0, values.size, length):
        # A piece stays in the fastest cache while all that goes to it is added up.
        for first in range(begin, begin + length, PIECE):
            last = min(first + PIECE, begin + length)
            for place in range(half.size):
                share, away = half[place], place * step
                later = max(first, begin + away)
                _add(values[later - away : max(later, last) - away], share, filtered[later : max(later, last)])
                if place:
                    sooner = max(first, min(last, begin + length - away))
                    _add(values[first + away : sooner + away], share, filtered[first:sooner])
    return filtered


@numba.njit(nogil=True, cache=True, fastmath=True)
def _add(values: Any, share: Any, sums: Any) -> None:
    for i in range(sums.size):
        sums[i] += share * values[i]
