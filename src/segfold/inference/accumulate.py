"""What a network says of an image's views, put together at the image's own size: strip by strip, from its top to its bottom.

No more is held than the rows that views still to come may touch, so memory follows the height of a view and the width of the
image, never its height.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from segfold.data.geometry.view import View, Weights
from segfold.resize import Shape

Merge = Literal["mean", "max", "sum"]
"""How several answers for a pixel become one: their mean, by the weights of the views, the largest, or the sum of them times
their weights."""

Planes = npt.NDArray[np.float32]


class Accumulator:
    """Takes the answers to an image's views in their order, and gives back its rows as soon as no other view touches them.

    Args:
        views: of the image, from its top to its bottom.
        planes: how many an answer has.
        shape: height and width of the image.
        merge: how answers become one.
        even: whether the views' weights add up to 1 in every pixel, as those of tiles and of whole images do; else a mean is
            divided by their sum. Where no view lies a mean and a sum are 0, and the largest -inf.
    """

    def __init__(
        self, views: Sequence[View], planes: int, shape: Shape, merge: Merge = "mean", even: bool = True
    ) -> None:
        self._shape, self._merge = shape, merge
        self._inside = [view.window.inside(shape) for view in views]
        self._views = list(views)
        tops = [*(window.top for window in self._inside), shape[0]]
        self._finished = np.minimum.accumulate(tops[::-1])[::-1].tolist()  # rows, once so many views are added
        self._nothing = np.float32(-np.inf if merge == "max" else 0)
        self._added = 0
        self._top = 0  # first row that is held
        height = self._most_rows()
        self._sum = np.full((planes, height, shape[1]), self._nothing, np.float32)
        self._weight = None if even or merge != "mean" else np.zeros((height, shape[1]), np.float32)

    @property
    def done(self) -> bool:
        """Whether all rows have been given back."""
        return self._top == self._shape[0]

    def add(self, planes: Planes) -> None:
        """Adds the answer to the next view, C×height×width at the size of its window; what is ``ready`` must be taken first."""
        view, inside = self._views[self._added], self._inside[self._added]
        self._added += 1
        part = inside.moved(-view.window.top, -view.window.left).slices
        target = inside.moved(-self._top, 0).slices
        answer = planes[(slice(None), *part)]
        if self._merge == "max":
            held = self._sum[(slice(None), *target)]
            np.maximum(held, answer, out=held)
            return
        weight = _factor(view.share, view.weights, part)
        self._sum[(slice(None), *target)] += answer if weight is None else answer * weight
        if self._weight is not None:
            self._weight[target] += 1 if weight is None else weight

    def ready(self) -> Iterator[tuple[int, Planes]]:
        """Strips that are finished: the first row of each, and C×rows×W, which change when the next answer is added."""
        bottom = self._finished[self._added]
        count = bottom - self._top
        if count == 0:
            return
        strip = self._sum[:, :count]
        if self._weight is not None:
            strip = np.divide(strip, np.maximum(self._weight[:count], np.float32(1e-30)), dtype=np.float32)
        yield self._top, strip
        self._top = bottom
        for held, nothing in ((self._sum, self._nothing), (self._weight, 0)):
            if held is not None:
                kept = max(held.shape[-2] - count, 0)
                held[..., :kept, :] = held[..., count:, :]  # numpy minds that they overlap
                held[..., kept:, :] = nothing

    def _most_rows(self) -> int:
        """Most rows that are held at a time: from the first unfinished one to the end of a view, or of what is finished."""
        begins = [0, *self._finished]
        views = [window.top + window.height - top for window, top in zip(self._inside, self._finished)]
        return max(views + [end - begin for begin, end in zip(begins, self._finished)])


def _factor(share: float, weights: Weights, part: tuple[slice, slice]) -> npt.NDArray[np.float32] | np.float32 | None:
    """How much each pixel of a part of a view counts; None for 1."""
    down, across = (None if axis is None else axis[where] for axis, where in zip(weights, part))
    if down is None and across is None:
        return None if share == 1 else np.float32(share)
    found = np.float32(share) if down is None else np.float32(share) * down[:, None]
    return found if across is None else found * across[None, :]
