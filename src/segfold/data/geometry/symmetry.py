"""Test-time augmentation: transforms of a batch, each with its exact inverse."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Transform(NamedTuple):
    """``forward`` is applied to images N×C×H×W before the network, ``inverse`` to its output."""

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    swaps_axes: bool = False


def _own_inverse(function: Callable[[Tensor], Tensor], swaps_axes: bool = False) -> Transform:
    return Transform(function, function, swaps_axes)


def _turned(quarters: int) -> Transform:
    return Transform(lambda x: x.rot90(quarters, (-2, -1)), lambda x: x.rot90(-quarters, (-2, -1)), True)


TRANSFORMS: dict[str, Transform] = {
    "identity": _own_inverse(lambda x: x),
    "hflip": _own_inverse(lambda x: x.flip(-1)),
    "vflip": _own_inverse(lambda x: x.flip(-2)),
    "hvflip": _own_inverse(lambda x: x.flip((-2, -1))),
    "rot90": _turned(1),
    "rot270": _turned(3),
    "transpose": _own_inverse(lambda x: x.transpose(-2, -1), True),
    "antitranspose": _own_inverse(lambda x: x.rot90(2, (-2, -1)).transpose(-2, -1), True),
}
"""The eight symmetries of the square. Those that swap the axes need a square network input."""
