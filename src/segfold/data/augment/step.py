"""A step of augmentation that albumentations lacks, or does in a way that is of no use here.

Its elastic transform blurs both displacement fields as one picture and has no unit for their size; its grid
distortion changes an image even where nothing is moved; its noise has 65,536 versions, drawn by OpenCV's global
generator; its cut-out fills in units of the pixel type.
"""

import random
from abc import ABC, abstractmethod

import numpy as np

from segfold.resize import Shape


class Step(ABC):
    """One step, called as albumentations' transforms are.

    Args:
        p: probability of the step.

    Attributes:
        stream: for single numbers.
        generator: for arrays.
        context: rows and columns that image and mask have on each side of the window that is augmented: real pixels, so
            that what moves into the window is not made up. All lengths of a step are those of the window.
        kept: rows and columns on each side that the steps after this one need.
        mask_fill: value of a mask outside the image, for steps that move pixels: they take the nearest pixel of a mask;
            None where its values of 0 and 1 are interpolated, and continued, as the image is.
    """

    stream: random.Random
    generator: np.random.Generator
    context: Shape = (0, 0)
    kept: Shape = (0, 0)
    mask_fill: int | None = None

    def __init__(self, p: float) -> None:
        self.p = p

    def set_random_state(self, generator: np.random.Generator, stream: random.Random) -> None:
        """Sets where the next call draws from."""
        self.generator, self.stream = generator, stream

    def reach(self, shape: Shape, kept: Shape) -> Shape:
        """Rows and columns of context that the step can need.

        Args:
            shape: of the window.
            kept: as the attribute.
        """
        return kept

    def window(self, array: np.ndarray) -> Shape:
        """Height and width of an array without its context."""
        return array.shape[0] - 2 * self.context[0], array.shape[1] - 2 * self.context[1]

    def kept_shape(self, array: np.ndarray) -> Shape:
        """Height and width of what is kept of an array."""
        height, width = self.window(array)
        return height + 2 * self.kept[0], width + 2 * self.kept[1]

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """Image and mask after the step; where it does not apply, the arguments."""
        if self.stream.random() < self.p:
            image, mask = self.apply(image, mask)
        return {"image": image, "mask": mask}

    @abstractmethod
    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Changes one sample. What is drawn depends on no pixel: objects beside a mask are moved by a second call.

        Args:
            image: H×W×C, uint8 or float32 of 0…1; not to be changed in place.
            mask: H×W uint8 of 0 and 1, or of class indices with ``mask_fill`` for what does not count, or H×W×C of 0 and 1,
                a plane a class; or H×W uint16 numbers of objects, 0 for none. Not to be changed in place.

        Returns:
            Arrays of the same types and ranges, with the same context or with ``kept`` alone.
        """
