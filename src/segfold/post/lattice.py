"""The permutohedral lattice: points of any space as weighted means of a few vertices that near points share.

Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010. A point in d
dimensions lies in a simplex of d + 1 vertices. What is filtered goes to the vertices by the point's weights, is spread among
them, and comes back by the same weights: the cost does not grow with the pairs of points.
"""

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

USUAL = math.sqrt(2 / 3)
"""Fineness at which one spreading by ¼, ½, ¼ along each axis makes a Gaussian of deviation 1, of the paper."""


@dataclass(frozen=True)
class Lattice:
    """Points in a lattice of which only the vertices around points exist.

    Attributes:
        vertices: N×(d+1) numbers of the vertices around each point.
        weights: N×(d+1), of a point 1 in all.
        keys: M×(d+1) places of the vertices, whole numbers that add up to 0. A distance of 1 between points is one of
            ``fine · (d+1)`` between keys.
        fine: how much finer than the deviation the lattice is.
    """

    vertices: npt.NDArray[np.int32]
    weights: Floats
    keys: npt.NDArray[np.int32]
    fine: float


def lattice_of(points: Floats, fine: float = USUAL) -> Lattice:
    """The lattice around N×d points whose filter is to have a deviation of 1."""
    vertices, weights, keys = _simplices(np.ascontiguousarray(points, np.float32), fine)
    return Lattice(vertices, weights, keys, fine)


def with_ring(keys: npt.NDArray[np.int32], most: int) -> npt.NDArray[np.int32]:
    """The keys, and after them those next to them along the axes; without these where there would be more than ``most``.

    What is spread to a vertex that does not exist is lost. Where colours are scattered most vertices have no neighbours.
    """
    return np.asarray(_with_ring(keys, most))


def beside(keys: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """(d+1)×M×2 numbers of the vertices before and after each along each axis; M where there is none."""
    return np.asarray(_beside(keys))


@numba.njit(nogil=True, cache=True)
def _slot(key: Any, table: Any, keys: Any) -> Any:
    """Where a key stands in the table, or belongs."""
    last = np.uint64(table.size - 1)
    mixed = np.uint64(0)
    for i in range(key.size - 1):  # the last is minus the sum of the others
        mixed = (mixed + np.uint64(np.int64(key[i]))) * np.uint64(0x9E3779B97F4A7C15)
    slot = (mixed >> np.uint64(32)) & last
    while table[slot] >= 0:
        known = table[slot]
        same = True
        for i in range(key.size - 1):
            same &= keys[known, i] == key[i]
        if same:
            break
        slot = (slot + np.uint64(1)) & last
    return slot


@numba.njit(nogil=True, cache=True)
def _table(keys: Any, size: Any) -> Any:
    """A hash table of a power of two, of the keys' numbers; -1 where there is none."""
    table = np.full(size, -1, np.int32)
    for number in range(len(keys)):
        table[_slot(keys[number], table, keys)] = number
    return table


@numba.njit(nogil=True, cache=True)
def _place(point: Any, fine: Any, near: Any, rank: Any, weights: Any, elevated: Any) -> None:
    """The simplex of a point: its vertex of remainder 0, the order of the axes, and the weights of the vertices."""
    d = point.size
    total = 0.0
    for j in range(d, 0, -1):
        scaled = point[j - 1] * fine * (d + 1) / math.sqrt(j * (j + 1.0))
        elevated[j] = total - j * scaled
        total += scaled
    elevated[0] = total
    over = 0
    for i in range(d + 1):
        rounded = math.floor(elevated[i] / (d + 1) + 0.5)
        near[i] = rounded * (d + 1)
        over += rounded
        rank[i] = 0
    for i in range(d):
        for j in range(i + 1, d + 1):
            if elevated[i] - near[i] < elevated[j] - near[j]:
                rank[i] += 1
            else:
                rank[j] += 1
    weights[:] = 0
    for i in range(d + 1):
        # Rounding may leave the plane of keys that add up to 0.
        rank[i] += over
        if rank[i] < 0:
            rank[i] += d + 1
            near[i] += d + 1
        elif rank[i] > d:
            rank[i] -= d + 1
            near[i] -= d + 1
        share = (elevated[i] - near[i]) / (d + 1)
        weights[d - rank[i]] += share
        weights[d - rank[i] + 1] -= share
    weights[0] += 1 + weights[d + 1]


@numba.njit(nogil=True, cache=True)
def _simplices(points: Any, fine: Any) -> Any:
    n, d = points.shape
    vertices = np.empty((n, d + 1), np.int32)
    weights = np.empty((n, d + 1), np.float32)
    keys = np.empty((2048, d + 1), np.int32)
    table = np.full(4096, -1, np.int32)
    found = 0
    near, rank, key = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int32)
    shares, elevated = np.empty(d + 2), np.empty(d + 1)
    for p in range(n):
        if found + d + 1 > len(keys):
            more = np.empty((4 * len(keys), d + 1), np.int32)
            more[:found] = keys[:found]
            keys = more
            table = _table(keys[:found], 2 * len(keys))
        _place(points[p], fine, near, rank, shares, elevated)
        for remainder in range(d + 1):
            for i in range(d + 1):
                key[i] = near[i] + remainder - (d + 1 if rank[i] > d - remainder else 0)
            slot = _slot(key, table, keys)
            if table[slot] < 0:
                keys[found] = key
                table[slot] = found
                found += 1
            vertices[p, remainder] = table[slot]
            weights[p, remainder] = shares[remainder]
    return vertices, weights, keys[:found].copy()


@numba.njit(nogil=True, cache=True)
def _size(count: Any) -> Any:
    """Of a table for so many keys."""
    size = 4096
    while size < 2 * count:
        size *= 2
    return size


@numba.njit(nogil=True, cache=True)
def _step(key: Any, axis: Any, way: Any, other: Any) -> None:
    """The key before or after another along an axis."""
    for i in range(key.size):
        other[i] = key[i] - way
    other[axis] += way * key.size


@numba.njit(nogil=True, cache=True)
def _with_ring(keys: Any, most: Any) -> Any:
    count, axes = keys.shape
    if count > most:
        return keys
    ringed = np.empty((most, axes), np.int32)
    ringed[:count] = keys
    table = _table(keys, _size(most))
    other = np.empty(axes, np.int32)
    found = count
    for number in range(count):
        for axis in range(axes):
            for way in (-1, 1):
                _step(keys[number], axis, way, other)
                slot = _slot(other, table, ringed)
                if table[slot] < 0:
                    if found == most:
                        return keys
                    ringed[found] = other
                    table[slot] = found
                    found += 1
    return ringed[:found].copy()


@numba.njit(nogil=True, cache=True)
def _beside(keys: Any) -> Any:
    count, axes = keys.shape
    table = _table(keys, _size(count))
    numbers = np.full((axes, count, 2), count, np.int32)
    other = np.empty(axes, np.int32)
    for axis in range(axes):
        for number in range(count):
            _step(keys[number], axis, 1, other)
            after = table[_slot(other, table, keys)]
            if after >= 0:
                numbers[axis, number, 1] = after
                numbers[axis, after, 0] = number
    return numbers
