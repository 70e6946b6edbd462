"""Tiles that cover an image: where they lie, and how much each counts in every pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Blend = Literal["linear", "gaussian", "flat"]
"""How much a tile counts towards its edges: falling over the overlap in a straight line, as a bell over the whole tile
(standard deviation 1/8 of its length, arXiv 1809.10486), or the same everywhere."""

GRID = 32
"""Tiles begin at multiples of so many pixels of the network's input: a network halves its maps up to five times, and only
then do tiles and the whole image meet the same pixels in each of its windows."""


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis of an image.

    Attributes:
        length: pixels of each tile.
        starts: where they begin; below 0 where the image is smaller than a tile.
        weights: of each tile, (length,) float32 or None for 1 everywhere; in every pixel of the image they add up to 1.
    """

    length: int
    starts: tuple[int, ...]
    weights: tuple[npt.NDArray[np.float32] | None, ...]


def axis(image: int, tile: int, overlap: int, blend: Blend, grid: int = 1) -> Axis:
    """The tiles that cover an axis of an image, evenly spread.

    Args:
        image: pixels of the image.
        tile: pixels of a tile.
        overlap: least pixels that neighbours share, less than ``tile``.
        blend: how tiles fade into each other.
        grid: tiles begin at multiples of it, where the image is larger than a tile; the last one may reach beyond the
            image by less than that.

    Example:
        >>> axis(100, 40, 8, "flat").starts
        (0, 30, 60)
    """
    starts = tile_starts(image, tile, overlap, grid)
    return Axis(tile, starts, _weights(image, tile, starts, _profile(tile, overlap, blend)))


def tile_starts(image: int, tile: int, overlap: int, grid: int = 1) -> tuple[int, ...]:
    """Where tiles begin, see ``axis``; an image that is smaller than a tile lies in the middle of its only one."""
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} that overlap by {overlap}")
    if image <= tile:
        return (-((tile - image) // 2),)
    stride = tile - overlap
    grid = grid if stride >= grid else 1
    stride -= stride % grid
    last = math.ceil((image - tile) / grid) * grid
    count = math.ceil(last / stride)
    return tuple(number * last // count // grid * grid for number in range(count + 1))


def _profile(tile: int, overlap: int, blend: Blend) -> npt.NDArray[np.float64]:
    """(tile,) how much a tile counts along the axis, above 0."""
    centred = np.arange(tile) - (tile - 1) / 2
    if blend == "flat" or (blend == "linear" and overlap == 0):
        return np.ones(tile)
    if blend == "gaussian":
        return np.exp(-0.5 * (centred / (tile / 8)) ** 2)
    from_edge = (tile + 1) / 2 - np.abs(centred)
    return np.minimum(from_edge / (overlap + 1), 1.0)


def _weights(
    image: int, tile: int, starts: Sequence[int], profile: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32] | None, ...]:
    first = min(starts)
    total = np.zeros(max(image, starts[-1] + tile) - first)
    for start in starts:
        total[start - first : start - first + tile] += profile
    shares = [(profile / total[start - first : start - first + tile]).astype(np.float32) for start in starts]
    return tuple(None if (share == 1).all() else share for share in shares)
