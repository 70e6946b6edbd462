"""The elastic deformation with which the first U-Net was trained from thirty images."""

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from segfold.data.augment.step import Step
from segfold.data.augment.warp import remap
from segfold.ranges import Share
from segfold.resize import Shape

_MOST = 3.0
"""Draws are cut off at so many deviations, one in 370; the deviation of what is left is 0.998 of what it was."""
_OVERSHOOT = 1.25**2
"""A cubic between nodes goes beyond the largest of them by at most a quarter along each axis."""


def elastic_grid(
    *,
    nodes: Annotated[int, Ge(2), Le(100)] = 3,
    sigma: Annotated[float, Ge(0), Le(1000)] = 10.0,
    p: Share = 0.5,
) -> Step:
    """Bends the image by random moves of a coarse grid's nodes, bicubic in between (Ronneberger et al., arXiv 1505.04597).

    Args:
        nodes: of the grid along each axis, the outermost on the edges.
        sigma: deviation of each node's move along each axis, in pixels of the image, normal and cut off at three times this; more
            than about a third of the distance between nodes may fold the image over itself.
        p: probability of the step.
    """
    return _ElasticGrid(nodes, sigma, p)


class _ElasticGrid(Step):
    def __init__(self, nodes: int, sigma: float, p: float) -> None:
        super().__init__(p)
        self._nodes, self._sigma = nodes, sigma

    def reach(self, shape: Shape, kept: Shape) -> Shape:
        most = math.ceil(_MOST * _OVERSHOOT * self._sigma) + 1
        return kept[0] + most, kept[1] + most

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moves = self.generator.standard_normal((2, self._nodes, self._nodes)).clip(-_MOST, _MOST) * self._sigma
        axes = [
            (np.arange(-around, length + around), length)
            for length, around in zip(self.window(mask), self.kept, strict=True)
        ]
        down, across = (_weights(places, length, self._nodes) for places, length in axes)
        from_above, from_left = (down @ each @ across.T for each in moves)
        y = from_above + (axes[0][0] + self.context[0])[:, None]
        x = from_left + (axes[1][0] + self.context[1])
        return remap(image, mask, self.mask_fill, x.astype(np.float32), y.astype(np.float32))


def _weights(places: np.ndarray, length: int, nodes: int) -> np.ndarray:
    """How much each node counts at each place of an axis, places×nodes (Keys, 1981); beyond an edge as much as there."""
    at = (places / max(1, length - 1)).clip(0, 1) * (nodes - 1)
    far = np.abs(at[:, None] - np.arange(-1, nodes + 1))
    near = np.where(far < 1, (1.5 * far - 2.5) * far**2 + 1, ((2.5 - 0.5 * far) * far - 4) * far + 2)
    near[far >= 2] = 0
    near[:, 1] += near[:, 0]  # a node outside moves as the one on the edge does
    near[:, -2] += near[:, -1]
    return near[:, 1:-1]
