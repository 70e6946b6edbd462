"""Samples made of two: mixup and CutMix.

Both work on the network's input, where all samples have one size, and draw from the stream that they are given.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from segfold.ranges import Share

Alpha = Annotated[float, Ge(1e-3), Le(100)]
"""Of a beta distribution; much smaller ones are 0 or 1, which Python's own generator does not always draw."""


class MaskedImage(NamedTuple):
    """A sample at the network's size.

    Attributes:
        image: height×width×C.
        mask: height×width; where masks are shares, and more than one class can be, height×width×C.
        valid: height×width bool.
    """

    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray


class Mix(ABC):
    """A way to make one sample of two.

    Args:
        alpha: the first sample's share is drawn from Beta(alpha, alpha).
        p: probability.

    Attributes:
        soft: whether masks become shares between 0 and 1, so that images and masks are float32.
    """

    soft = False

    def __init__(self, alpha: float, p: float) -> None:
        self.alpha, self.p = alpha, p

    def applies(self, stream: random.Random) -> bool:
        """Whether the sample that the stream belongs to is mixed."""
        return stream.random() < self.p

    def __call__(self, first: MaskedImage, second: MaskedImage, stream: random.Random) -> MaskedImage:
        """Mixes two samples by a share drawn from the stream."""
        return self.mix(first, second, stream.betavariate(self.alpha, self.alpha), stream)

    @abstractmethod
    def mix(self, first: MaskedImage, second: MaskedImage, share: float, stream: random.Random) -> MaskedImage:
        """Mixes two samples of the same shapes and types, of which the first has the given share of the result."""


def mixup(*, alpha: Alpha = 0.2, p: Share = 0.5) -> Mix:
    """Weighted mean of two images and of their masks (arXiv 1710.09412); valid is what is valid in both.

    The second place of the TGS competition lost 0.005 with it.

    Args:
        alpha: of the beta distribution that the share is drawn from: near 0, mostly one of the two; 1, all shares are
            equally likely.
        p: probability that a sample is mixed.
    """
    return _Mixup(alpha, p)


def cutmix(*, alpha: Alpha = 1.0, p: Share = 0.5) -> Mix:
    """A rectangle of one image with its mask, pasted into another (arXiv 1905.04899).

    The rectangle lies wholly inside, so that its area is the drawn share; the paper cuts it off at the border.

    Args:
        alpha: of the beta distribution that the rectangle's area is drawn from: near 0, mostly tiny or huge ones; 1,
            all areas are equally likely.
        p: probability that a sample is mixed.
    """
    return _Cutmix(alpha, p)


MIXES: dict[str, Callable[..., Mix]] = {"mixup": mixup, "cutmix": cutmix}


class _Mixup(Mix):
    soft = True

    def mix(self, first: MaskedImage, second: MaskedImage, share: float, stream: random.Random) -> MaskedImage:
        own, other = np.float32(share), np.float32(1 - share)
        image = own * first.image + other * second.image
        return MaskedImage(image, own * first.mask + other * second.mask, first.valid & second.valid)


class _Cutmix(Mix):
    def mix(self, first: MaskedImage, second: MaskedImage, share: float, stream: random.Random) -> MaskedImage:
        window = []
        for length in first.valid.shape:
            side = round(math.sqrt(1 - share) * length)
            start = stream.randint(0, length - side)
            window.append(slice(start, start + side))
        rows, columns = window
        mixed = MaskedImage(*(part.copy() for part in first))
        for part, source in zip(mixed, second, strict=True):
            part[rows, columns] = source[rows, columns]
        return mixed
