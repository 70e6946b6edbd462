"""How far the networks of some ensembles disagree on each test image: one pass over all that they have predicted."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from segfold.store import HALF, Probabilities
from segfold.tasks import Task

Numbers = npt.NDArray[np.int64]

_BLOCK = 1 << 22  # codes of a store that are read at once


def disagreement(stores: Sequence[Probabilities], task: Task) -> npt.NDArray[np.float64]:
    """(N,) of each image of the first store, in its order: 0 where all decide alike, 1 where they are split evenly.

    Each store decides each pixel of each class by itself, at one half: the mean over pixels and classes of 4·p·(1 - p), where
    p is the share of the stores that say yes. Where classes exclude each other each store takes its most probable one:
    the mean over pixels of the share that does not take what most take, C/(C - 1) times, so that it is 1 of votes that are
    spread evenly over C classes.

    Args:
        stores: of the same images in the same sizes, in any order; fewer than 2¹⁶.

    Raises:
        SegfoldError: a store that ends early.
    """
    shapes, classes = stores[0].shapes, len(task.classes)
    rows = [np.array([store.rows[name] for name in stores[0].ids], np.int64) for store in stores]
    sums = np.zeros(len(shapes), np.int64)
    for block in _blocks(shapes):
        ends = block.ends(shapes)
        votes = np.zeros(int(ends[-1]), np.uint16)
        for store, its_rows in zip(stores, rows):
            codes = block.codes(store, its_rows)
            if task.exclusive:
                _vote_most(votes, codes, ends, classes)
            else:
                _vote(votes, codes, np.uint16(HALF))
        count = _others if task.exclusive else _pairs
        count(votes, ends, classes, len(stores), sums[block.images])
    pixels = np.maximum(shapes[:, 1] * shapes[:, 2], 1)
    if task.exclusive:
        return sums / (len(stores) * pixels) * classes / (classes - 1)
    return 4 * sums / (len(stores) ** 2 * pixels * classes)


class _Block(NamedTuple):
    """What is read at once of each store.

    Attributes:
        images: of the first store.
        rows: of the one image that is too large to be read whole; None for all.
    """

    images: slice
    rows: tuple[int, int] | None

    def ends(self, shapes: Numbers) -> Numbers:
        """Where the codes of each image begin, and where the last ones end."""
        sizes = shapes[self.images].copy()
        if self.rows is not None:
            sizes[:, 1] = self.rows[1] - self.rows[0]
        return np.concatenate([[0], sizes.prod(axis=1).cumsum()])

    def codes(self, store: Probabilities, rows: Numbers) -> npt.NDArray[np.uint16]:
        """Args:
        rows: of all images in this store.
        """
        chosen = rows[self.images].tolist()
        return store.codes_of(chosen) if self.rows is None else store.code_rows(chosen[0], *self.rows).reshape(-1)


def _blocks(shapes: Numbers) -> Iterator[_Block]:
    ends = np.concatenate([[0], shapes.prod(axis=1).cumsum()])
    first = 0
    while first < len(shapes):
        end = int(np.searchsorted(ends, ends[first] + _BLOCK, side="right")) - 1
        if end > first:
            yield _Block(slice(first, end), None)
            first = end
            continue
        classes, height, width = shapes[first].tolist()
        step = max(1, _BLOCK // (classes * width))
        for top in range(0, height, step):
            yield _Block(slice(first, first + 1), (top, min(top + step, height)))
        first += 1


@numba.njit(nogil=True, cache=True)
def _vote(votes: Any, codes: Any, half: Any) -> None:
    """Adds one where a code says yes."""
    for place in range(codes.size):
        votes[place] += np.uint16(codes[place] >= half)


@numba.njit(nogil=True, cache=True)
def _vote_most(votes: Any, codes: Any, ends: Any, classes: int) -> None:
    """Adds one to the most probable class of each pixel, the first of equal ones."""
    for image in range(ends.size - 1):
        begin = ends[image]
        pixels = (ends[image + 1] - begin) // classes
        for pixel in range(begin, begin + pixels):
            best, place = codes[pixel], pixel
            for other in range(pixel + pixels, begin + classes * pixels, pixels):
                if codes[other] > best:
                    best, place = codes[other], other
            votes[place] += np.uint16(1)


@numba.njit(nogil=True, cache=True)
def _pairs(votes: Any, ends: Any, classes: int, stores: int, sums: Any) -> None:
    """Adds up in each image how many pairs of a yes and a no there are, over pixels and classes."""
    for image in range(ends.size - 1):
        total = np.int64(0)
        for place in range(ends[image], ends[image + 1]):
            yes = np.int64(votes[place])
            total += yes * (stores - yes)
        sums[image] += total


@numba.njit(nogil=True, cache=True)
def _others(votes: Any, ends: Any, classes: int, stores: int, sums: Any) -> None:
    """Adds up in each image how many stores do not take what most take, over pixels."""
    for image in range(ends.size - 1):
        begin = ends[image]
        pixels = (ends[image + 1] - begin) // classes
        total = np.int64(0)
        for pixel in range(begin, begin + pixels):
            most = np.int64(0)
            for place in range(pixel, begin + classes * pixels, pixels):
                most = max(most, np.int64(votes[place]))
            total += stores - most
        sums[image] += total
