"""Where the classes of masks lie, counted by blocks once, so that a pixel of a class is drawn without reading its mask.

A mask of 10,000² pixels is counted in a fraction of a second and remembered in some 100 kilobytes; a draw reads one block.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.tasks import Task

BLOCK = 64
"""Pixels a side; a count of a block's pixels fits 16 bits."""


class ClassPlaces:
    """Counts of each class's pixels in the blocks of masks.

    Args:
        masks: H×W each, as the task has them.
        rows: indices into ``masks`` of those to count.
        task: whose masks they are.
    """

    def __init__(self, masks: Sequence[np.ndarray], rows: np.ndarray, task: Task) -> None:
        self._task = task
        self._rows = np.unique(np.asarray(rows, np.int64))
        count = len(task.classes)

        def counted(row: int) -> list[tuple[np.ndarray, np.ndarray]]:
            mask = masks[row]
            down, across = (-(-length // BLOCK) for length in mask.shape)
            counts = np.zeros((count, down * across), np.uint16)
            _count(mask, task.exclusive, across, counts)
            filled = (np.flatnonzero(each) for each in counts)
            return [(blocks.astype(np.uint32), each[blocks]) for blocks, each in zip(filled, counts)]

        with ThreadPoolExecutor(cores()) as pool:
            found = [part for parts in pool.map(counted, self._rows.tolist()) for part in parts]
        self._ends = np.concatenate([[0], np.cumsum([len(blocks) for blocks, _ in found])]).astype(np.int64)
        self._blocks = np.concatenate([np.zeros(0, np.uint32), *(blocks for blocks, _ in found)])
        self._counts = np.concatenate([np.zeros(0, np.uint16), *(counts for _, counts in found)])

    def present(self, row: int) -> list[int]:
        """Indices of the classes that a mask has pixels of."""
        first = self._first(row)
        sizes = np.diff(self._ends[first : first + len(self._task.classes) + 1])
        return np.flatnonzero(sizes).tolist()

    def pixels(self, row: int, index: int) -> int:
        """How many pixels of a class a mask has."""
        return int(self._part(row, index)[1].sum(dtype=np.int64))

    def pixel(self, row: int, index: int, number: int, mask: np.ndarray) -> tuple[int, int]:
        """Row and column of a pixel of a class: the ``number``-th, by blocks, from 0 on.

        Args:
            mask: the row's own.
        """
        blocks, counts = self._part(row, index)
        ends = np.cumsum(counts, dtype=np.int64)
        place = int(np.searchsorted(ends, number, side="right"))
        down, across = divmod(int(blocks[place]), -(-mask.shape[1] // BLOCK))
        top, left = down * BLOCK, across * BLOCK
        block = np.asarray(mask[top : top + BLOCK, left : left + BLOCK])
        inside = np.flatnonzero(self._task.planes(block)[index])[number - int(ends[place]) + int(counts[place])]
        y, x = divmod(int(inside), block.shape[1])
        return top + y, left + x

    def _part(self, row: int, index: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
        first = self._first(row) + index
        part = slice(self._ends[first], self._ends[first + 1])
        return self._blocks[part], self._counts[part]

    def _first(self, row: int) -> int:
        return int(np.searchsorted(self._rows, row)) * len(self._task.classes)


@numba.njit(nogil=True, cache=True)
def _count(mask: np.ndarray, exclusive: bool, across: int, counts: np.ndarray) -> None:
    """Adds the pixels of each class and block of a mask of class indices, or of bits, to counts C×blocks."""
    height, width = mask.shape
    classes = counts.shape[0]
    for y in range(height):
        for x in range(width):
            value = int(mask[y, x])
            if exclusive:
                if value < classes:
                    counts[value, y // BLOCK * across + x // BLOCK] += 1
            elif value:
                for index in range(classes):
                    counts[index, y // BLOCK * across + x // BLOCK] += value >> index & 1
