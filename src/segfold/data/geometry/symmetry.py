"""The eight symmetries of the square: of a batch, of an array, and of a window; each with its exact inverse."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from segfold.data.geometry.window import Window
from segfold.resize import Shape


class Transform(NamedTuple):
    """``forward`` is applied to images N×C×H×W before the network, ``inverse`` to its output.

    In other words: rows and columns change places if ``swaps_axes``, and then the new rows, and the new columns, are
    turned round if ``flips`` says so.
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    swaps_axes: bool = False
    flips: tuple[bool, bool] = (False, False)

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """What ``forward`` makes of an image H×W×C; a view of it."""
        turned = pixels.swapaxes(0, 1) if self.swaps_axes else pixels
        return turned[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]

    def shape(self, shape: Shape) -> Shape:
        """Height and width of what was of this shape."""
        return shape[::-1] if self.swaps_axes else shape

    def window(self, window: Window, shape: Shape) -> Window:
        """Where a window of an image of this shape lies once the image is transformed."""
        height, width = self.shape(shape)
        top, left, rows, columns = window
        if self.swaps_axes:
            top, left, rows, columns = left, top, columns, rows
        return Window(
            height - top - rows if self.flips[0] else top,
            width - left - columns if self.flips[1] else left,
            rows,
            columns,
        )


def _own_inverse(function: Callable[[Tensor], Tensor], flips: tuple[bool, bool], swaps_axes: bool = False) -> Transform:
    return Transform(function, function, swaps_axes, flips)


def _turned(quarters: int, flips: tuple[bool, bool]) -> Transform:
    return Transform(lambda x: x.rot90(quarters, (-2, -1)), lambda x: x.rot90(-quarters, (-2, -1)), True, flips)


TRANSFORMS: dict[str, Transform] = {
    "identity": _own_inverse(lambda x: x, (False, False)),
    "hflip": _own_inverse(lambda x: x.flip(-1), (False, True)),
    "vflip": _own_inverse(lambda x: x.flip(-2), (True, False)),
    "hvflip": _own_inverse(lambda x: x.flip((-2, -1)), (True, True)),
    "rot90": _turned(1, (True, False)),
    "rot270": _turned(3, (False, True)),
    "transpose": _own_inverse(lambda x: x.transpose(-2, -1), (False, False), True),
    "antitranspose": _own_inverse(lambda x: x.rot90(2, (-2, -1)).transpose(-2, -1), (True, True), True),
}
