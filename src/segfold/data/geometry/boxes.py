"""Which boxes of an image are views of it beside the whole."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segfold.data.geometry.window import Window
from segfold.resize import Shape

Boxes = npt.NDArray[np.int32]
"""(N, 4): top, left, height and width of each in pixels of the image, the best first."""


@dataclass(frozen=True)
class BestBoxes:
    """The best boxes of an image, made larger about their centres.

    Attributes:
        count: how many at most.
        scale: how many times as long their sides are made.
        least_side: share of the image's shorter side that both sides of a scaled box need; others do not count.
    """

    count: int = 50
    scale: float = 1.2
    least_side: float = 0.0

    def windows(self, boxes: Boxes, shape: Shape) -> tuple[Window, ...]:
        """What is seen of an image for its boxes, each once, from its top to its bottom whatever order they come in.

        One of the whole image is left out, though it counts: the whole is a view anyway. A box that is the whole image is not
        made larger.

        Args:
            boxes: inside the image.
            shape: height and width of the image.
        """
        least = self.least_side * min(shape)
        whole, found = Window(0, 0, *shape), list[Window]()
        for box in (Window(*sides) for sides in boxes.tolist()):
            if len(found) == self.count:
                break
            seen = box if box == whole else box.scaled(self.scale)
            if min(seen.shape) >= least:
                found.append(seen)
        return tuple(sorted(set(found) - {whole}))
