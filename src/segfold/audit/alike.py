"""Near-duplicates: images that are nearly one picture, as they are or mirrored, whatever their brightness and contrast.

Two images are as alike as their small pictures correlate. All pairs are looked at, some thousand images against some
thousand at a time, so memory follows the images and not the pairs. Pictures of 16×16 are correlated first, those of 32×32
where that says that it may matter. A mirrored picture costs no product of its own: of the parts of a picture that are even
or odd across and down, a mirroring only turns signs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

FLIPS = ("", "hflip", "vflip", "both")
"""What one image of a pair has to be mirrored by to be the other."""
_SIGNS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float32)
"""Of each flip, the signs of the parts that are even or odd across (fastest) and down."""

_BLOCK = 1024
_DENSE = 0.02  # share of a block's pairs from which a product of all is faster than one of each
_AT_ONCE = 1 << 13  # pairs whose pictures are gathered at once


@dataclass(frozen=True)
class Nearest:
    """Of each of N images the other that is most alike, among some.

    Attributes:
        image: index of the other; -1 of an image that has none.
        correlation: of the two, -1 where there is none.
        flip: index into ``FLIPS``.
    """

    image: Integers
    correlation: Floats
    flip: Integers


@dataclass(frozen=True)
class Alike:
    """Near-duplicates among N images.

    Attributes:
        group: N, a number from 0 of images that are linked by pairs; -1 of an image that is like no other. Larger groups
            come first.
        nearest: of all others.
        across: for each numbering of places, of those in another place.
        pairs: how many pairs there are.
    """

    group: Integers
    nearest: Nearest
    across: tuple[Nearest, ...]
    pairs: int

    @property
    def groups(self) -> int:
        """How many there are."""
        return int(self.group.max(initial=-1)) + 1


class _Best:
    """Takes pairs and keeps the best of each image."""

    def __init__(self, count: int) -> None:
        self.image = np.full(count, -1, np.int64)
        self.correlation = np.full(count, -1, np.float32)
        self.flip = np.zeros(count, np.int64)

    def take(self, one: Integers, other: Integers, correlation: Floats, flip: npt.NDArray[np.int8]) -> None:
        for mine, theirs in ((one, other), (other, one)):
            # The best last: of several assignments to an image, the last one stays.
            order = np.lexsort((-theirs, correlation))
            better = order[correlation[order] > self.correlation[mine[order]]]
            at = mine[better]
            self.image[at], self.correlation[at], self.flip[at] = theirs[better], correlation[better], flip[better]

    def done(self) -> Nearest:
        return Nearest(self.image, self.correlation, self.flip)


def find_alike(
    small: Floats,
    places: Sequence[Integers] = (),
    least: float = 0.9,
    on_image: Callable[[int], None] = lambda done: None,
) -> Alike:
    """Finds near-duplicates.

    Args:
        small: N×S×S grey pictures, S even; a picture of one value is like no other.
        places: (N,) numbers each of where images are, such as their folds; -1 of an image that is in none.
        least: correlation from which two images are alike, above 0.
        on_image: told how many images have been held against all before them.
    """
    count = len(small)
    fine = _parts(small)
    coarse = _parts(small.reshape(count, small.shape[1] // 2, 2, small.shape[2] // 2, 2).mean(axis=(2, 4)))
    nearest, across = _Best(count), [_Best(count) for _ in places]
    label = np.arange(count, dtype=np.int64)
    pairs = 0
    for rows, columns in _blocks(count):
        # A pair counts once, by the flip that makes it most alike.
        best = np.full((rows.stop - rows.start, columns.stop - columns.start), -1, np.float32)
        way = np.zeros(best.shape, np.int8)
        for flip, found in enumerate(_correlations(coarse, fine, rows, columns, least)):
            better = found > best
            best[better], way[better] = found[better], flip
        if rows == columns:
            best[np.tril_indices(len(best))] = -1
        i, j = np.nonzero(best >= least)
        one, other, correlation, ways = i + rows.start, j + columns.start, best[i, j], way[i, j]
        pairs += len(one)
        nearest.take(one, other, correlation, ways)
        for place, best_across in zip(places, across):
            apart = (place[one] != place[other]) & (place[one] >= 0) & (place[other] >= 0)
            best_across.take(one[apart], other[apart], correlation[apart], ways[apart])
        label = _joined(label, one, other)
        on_image(rows.stop if columns.stop == count else rows.start)
    return Alike(_numbered(label), nearest.done(), tuple(each.done() for each in across), pairs)


def _blocks(count: int) -> Iterator[tuple[slice, slice]]:
    """The pairs of blocks on and above the diagonal."""
    edges = [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    return ((rows, columns) for place, rows in enumerate(edges) for columns in edges[place:])


def _parts(small: Floats) -> Floats:
    """4×N×(S²/4): of each picture, without its mean and of length 1, what is even or odd across and down."""
    count, side = small.shape[0], small.shape[1]
    flat = small.reshape(count, side * side)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    # What rounding leaves of a picture of one value is no picture.
    flat = np.where(length > 1e-5 * side, flat / np.maximum(length, 1e-12), 0).astype(np.float32)
    whole = flat.reshape(small.shape)
    half = side // 2
    parts = []
    for down in (1, -1):
        upright = whole[:, :half] + down * whole[:, ::-1][:, :half]
        for across in (1, -1):
            part = upright[:, :, :half] + across * upright[:, :, ::-1][:, :, :half]
            parts.append(part.reshape(count, half * half) / 2)
    return np.ascontiguousarray(parts)


def _correlations(coarse: Floats, fine: Floats, rows: slice, columns: slice, least: float) -> Floats:
    """Of a block of images with another, mirrored by each flip; -1 where the coarse pictures are not alike."""
    rough = _products(coarse, rows, columns)
    close = rough >= least
    if close.mean() > _DENSE:
        return np.where(close, _products(fine, rows, columns), np.float32(-1))
    found = np.full(rough.shape, -1, np.float32)
    flip, i, j = np.nonzero(close)
    for start in range(0, len(i), _AT_ONCE):
        ways, one, other = (each[start : start + _AT_ONCE] for each in (flip, i, j))
        by_part = np.einsum("pns,pns->pn", fine[:, one + rows.start], fine[:, other + columns.start])
        found[ways, one, other] = (_SIGNS[ways].T * by_part).sum(axis=0)
    return found


def _products(parts: Floats, rows: slice, columns: slice) -> Floats:
    by_part = np.stack([part[rows] @ part[columns].T for part in parts])
    return np.tensordot(_SIGNS, by_part, axes=1)


def _joined(label: Integers, one: Integers, other: Integers) -> Integers:
    """Labels of the parts of a graph after some more edges."""
    apart = label[one] != label[other]
    if not apart.any():
        return label
    ends = label[one[apart]], label[other[apart]]
    edges = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(len(label), len(label)))
    return connected_components(edges, directed=False)[1].astype(np.int64)[label]


def _numbered(label: Integers) -> Integers:
    """Numbers of the parts of more than one image, the largest first, then by their first image; -1 of the others."""
    _, first, inverse, sizes = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    number = np.empty(len(sizes), np.int64)
    number[order] = np.arange(len(sizes))
    return np.where(sizes > 1, number, -1)[inverse.reshape(-1)]
