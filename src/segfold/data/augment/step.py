"""A step of augmentation that albumentations lacks, or does in a way that is of no use here.

Its elastic transform blurs both displacement fields as one picture and has no unit for their size; its grid
distortion changes an image even where nothing is moved; its noise has 65,536 versions, drawn by OpenCV's global
generator; its cut-out fills in units of the pixel type.
"""

import random
from abc import ABC, abstractmethod

import numpy as np


class Step(ABC):
    """One step, called as albumentations' transforms are.

    Args:
        p: probability of the step.

    Attributes:
        stream: for single numbers.
        generator: for arrays.
        mask_fill: value of a mask outside the image, for steps that move pixels: they take the nearest pixel of a mask;
            None where its values of 0 and 1 are interpolated, and continued, as the image is.
    """

    stream: random.Random
    generator: np.random.Generator
    mask_fill: int | None = None

    def __init__(self, p: float) -> None:
        self.p = p

    def set_random_state(self, generator: np.random.Generator, stream: random.Random) -> None:
        """Sets where the next call draws from."""
        self.generator, self.stream = generator, stream

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """Image and mask after the step; where it does not apply, the arguments."""
        if self.stream.random() < self.p:
            image, mask = self.apply(image, mask)
        return {"image": image, "mask": mask}

    @abstractmethod
    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Changes one sample.

        Args:
            image: H×W×C, uint8 or float32 of 0…1; not to be changed in place.
            mask: H×W uint8 of 0 and 1, or of class indices with ``mask_fill`` for what does not count, or H×W×C of 0 and 1,
                a plane a class; not to be changed in place.

        Returns:
            Arrays of the same shapes, types and ranges.
        """
