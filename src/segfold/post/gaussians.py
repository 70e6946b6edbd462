"""Gaussian filters of many planes at once, each normalised from both sides, as dense CRFs take them.

A filter is the matrix K of exp(-|difference|² / 2) between all pixels, itself too, and gives D^-½ K D^-½ of a plane, where D
has the sums of K's rows: a symmetric filter whose rows add up to about 1 (NORMALIZE_SYMMETRIC of Krähenbühl's code).
"""

import math
from typing import Any, Protocol

import numba
import numpy as np

from segfold.post.lattice import USUAL, Floats, Lattice, beside, lattice_of

DENSE = 2048
"""Vertices up to which each is filtered with each, a matrix of at most 16 MiB."""
FINEST = 4.0
REACH = 4
"""Deviations beyond which a Gaussian of positions is cut off."""


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
        else:
            self._beside = beside(lattice)
        self.vertices, self.weights, self.count = lattice.vertices, lattice.weights, len(lattice.keys)
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
        self.shape = shape
        self.down, self.across = (_bands(size, deviation) for size in shape)

    def add(self, planes: Floats, weight: float, sums: Floats) -> None:
        height, width = self.shape
        # Along the columns a whole row of all planes is one vector.
        filtered = _banded(planes.reshape(1, height, -1), self.down)
        filtered = _banded(filtered.reshape(height, width, -1), self.across)
        sums += np.float32(weight) * filtered.reshape(sums.shape)


def _bands(size: int, deviation: float) -> Floats:
    """size×(2·radius+1): of each place, how much it takes of those around it; 0 beyond the border."""
    radius = min(math.ceil(REACH * deviation), size - 1)
    steps = np.arange(-radius, radius + 1)
    there = np.arange(size)[:, None] + steps
    inside = (there >= 0) & (there < size)
    bands = np.exp(-0.5 * (steps / deviation) ** 2) * inside
    norms = np.sqrt(bands.sum(axis=1))
    return (bands / norms[:, None] / norms[there.clip(0, size - 1)]).astype(np.float32)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _banded(values: Any, bands: Any) -> Any:
    """Along the middle axis of outer×size×inner."""
    outer, size, inner = values.shape
    radius = bands.shape[1] // 2
    filtered = np.zeros_like(values)
    for o in range(outer):
        for place in range(size):
            for other in range(max(0, place - radius), min(size, place + radius + 1)):
                share = bands[place, other - place + radius]
                for k in range(inner):
                    filtered[o, place, k] += share * values[o, other, k]
    return filtered
