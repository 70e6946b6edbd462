"""Masks as run lengths, row by row: what the page draws on a canvas over a picture.

Many masks make one value of plain lists, small once it is packed::

    height, width   of a mask as it is packed; one number, or a list where they differ
    step            only every step-th row and column of the mask was taken; a number, mostly 1, or a list
    counts          how many runs each mask has
    lengths         of all runs of all masks, one after the other
    values          of each run; None of masks of one class: their runs alternate, 0 first, perhaps with no pixel
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from segfold.tasks import Mask, Task

SIDE = 1024
"""A mask with a longer side is packed with fewer rows and columns: no screen shows more."""


class Packer:
    """Packs masks one after the other.

    Args:
        task: whose masks they are: 0 and 1 of one class, indices of classes with void, or a bit a class.
    """

    def __init__(self, task: Task) -> None:
        self._alternate = len(task.classes) == 1
        self._shapes: list[tuple[int, int, int]] = []
        self._counts: list[int] = []
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._values: list[npt.NDArray[Any]] = []

    def add(self, mask: Mask) -> None:
        """Adds an H×W mask."""
        step = step_of(*mask.shape)
        taken = np.ascontiguousarray(mask if step == 1 else mask[::step, ::step])
        height, width = taken.shape
        runs = _first_pixels(taken.reshape(-1))
        lengths = np.diff(runs, append=np.int32(taken.size))
        if not self._alternate:
            self._values.append(taken.reshape(-1)[runs])
        elif taken.size and taken[0, 0]:
            lengths = np.concatenate([np.zeros(1, np.int32), lengths])
        self._shapes.append((height, width, step))
        self._counts.append(len(lengths))
        self._lengths.append(lengths)

    def packed(self) -> dict[str, Any]:
        """All that was added, in its order."""
        height, width, step = (_one_or_all([shape[axis] for shape in self._shapes]) for axis in range(3))
        return {
            "height": height,
            "width": width,
            "step": step,
            "counts": list(self._counts),
            "lengths": np.concatenate([*self._lengths, np.zeros(0, np.int32)]).tolist(),
            "values": None if self._alternate else np.concatenate([*self._values, np.zeros(0, np.uint8)]).tolist(),
        }


def step_of(height: int, width: int) -> int:
    """Of a mask of this size only every so many rows and columns one is packed, from the first on."""
    return max(1, -(-max(height, width) // SIDE))


def pack(masks: Iterable[Mask], task: Task) -> dict[str, Any]:
    """Masks H×W of any sizes as the page takes them, see the module."""
    packer = Packer(task)
    for mask in masks:
        packer.add(mask)
    return packer.packed()


def unpack(packed: Mapping[str, Any], index: int) -> npt.NDArray[np.uint16]:
    """One of the masks, h×w as it is packed: every ``step``-th row and column of the mask that it was."""
    index = range(len(packed["counts"]))[index]
    height, width = (size if isinstance(size, int) else size[index] for size in (packed["height"], packed["width"]))
    first = sum(packed["counts"][:index])
    runs = slice(first, first + packed["counts"][index])
    lengths = packed["lengths"][runs]
    values = np.arange(len(lengths)) % 2 if packed["values"] is None else packed["values"][runs]
    return np.repeat(np.asarray(values, np.uint16), lengths).reshape(height, width)


def _one_or_all(numbers: list[int]) -> int | list[int]:
    return numbers[0] if len(set(numbers)) == 1 else numbers


@numba.njit(nogil=True, cache=True)
def _first_pixels(pixels: Any) -> Any:
    """Where the runs of equal values begin."""
    runs = 0
    for place in range(1, pixels.size):
        runs += pixels[place] != pixels[place - 1]
    found = np.empty(runs + (pixels.size > 0), np.int32)
    if pixels.size:
        found[0] = 0
    last = 1
    for place in range(1, pixels.size):
        if pixels[place] != pixels[place - 1]:
            found[last] = place
            last += 1
    return found
