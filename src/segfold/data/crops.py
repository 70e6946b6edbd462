"""Windows of images to train on: anywhere, or around a pixel of a class."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segfold.data.geometry.window import Window
from segfold.data.places import ClassPlaces
from segfold.resize import Shape


@dataclass(frozen=True)
class Crops:
    """How windows of images are drawn.

    Attributes:
        shape: height and width of what the network sees of an image, in pixels of the image.
        around: pixels on each side of it that come into the margin of the network's input; the window lies inside them.
        focus: share of windows that lie around a pixel of a class, drawn from those that the image has.
        classes: indices of the classes that are looked for.
        places: where they are; None where ``focus`` is 0.
    """

    shape: Shape
    around: int = 0
    focus: float = 0.0
    classes: tuple[int, ...] = ()
    places: ClassPlaces | None = None

    @property
    def given(self) -> Shape:
        """Height and width of a window, in pixels of the image: what the network says something of."""
        return self.shape[0] - 2 * self.around, self.shape[1] - 2 * self.around

    def needed(self, shapes: np.ndarray) -> npt.NDArray[np.int64]:
        """How many windows cover each image.

        Args:
            shapes: N×2 or more, height and width first.
        """
        down, across = (-(-shapes[:, axis] // self.given[axis]) for axis in (0, 1))
        return np.asarray(down * across, np.int64)

    def window(self, row: int, masks: Sequence[np.ndarray], stream: random.Random) -> Window:
        """A window of an image, inside it; along an axis that is shorter than a window, the whole of it.

        Args:
            row: of the image.
            masks: H×W of every image.
            stream: what is drawn from.
        """
        mask = masks[row]
        shape = (mask.shape[0], mask.shape[1])
        places = self.places
        if places is not None and stream.random() < self.focus:
            present = set(places.present(row))
            found = [index for index in self.classes if index in present]
            if found:
                index = stream.choice(found)
                pixel = places.pixel(row, index, stream.randrange(places.pixels(row, index)), mask)
                return _window(shape, self.given, pixel, stream)
        return _window(shape, self.given, None, stream)


def _window(shape: Shape, size: Shape, pixel: tuple[int, int] | None, stream: random.Random) -> Window:
    """One of the windows of this size inside an image, all alike; of those with the pixel, where there is one."""
    starts, sides = [], []
    for axis in (0, 1):
        side = min(size[axis], shape[axis])
        first, last = 0, shape[axis] - side
        if pixel is not None:
            first, last = max(pixel[axis] - side + 1, first), min(pixel[axis], last)
        starts.append(stream.randint(first, last))
        sides.append(side)
    return Window(starts[0], starts[1], sides[0], sides[1])
