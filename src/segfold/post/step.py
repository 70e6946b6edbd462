"""What every post step has in common: what it works on, what it may ask for, and what settings are worth a try."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """What a step may ask for beside the plane that it works on.

    Attributes:
        image: gives the H×W×C pixels of the image as the competition ships it.
        nonempty: code of the probability that the image's mask is not empty, by the image heads; None without one.
        kept: what a step has made of the image and needs again, for another class or with other settings, by its name.
    """

    image: Callable[[], npt.NDArray[Any]]
    nonempty: int | None = None
    kept: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class MaskSizes:
    """By which the settings are chosen that are worth a try.

    Attributes:
        pixels: of the largest image.
        fullest: foreground pixels of the fullest true mask.
    """

    pixels: int
    fullest: int


class PostStep(ABC):
    """A step between stored probabilities and the mask that is submitted; its keyword arguments are its settings.

    Attributes:
        open_ended: whether a setting beyond the last one that ``grid`` tries may be better still.
        costly: whether it takes so long that it is tried only where a user names it.
    """

    open_ended: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def grid(cls, sizes: MaskSizes) -> Sequence[Mapping[str, Any]]:
        """Settings to try, from the weakest to the strongest."""


class ProbabilityStep(PostStep):
    """A step before the decision."""

    @abstractmethod
    def __call__(self, codes: Codes, seen: Seen) -> Codes:
        """H×W codes to H×W codes, a new array."""

    def together(self, codes: Codes, seen: Seen) -> Codes:
        """C×H×W codes of classes that exclude each other to others; each plane by itself where a step says no more."""
        return np.stack([self(plane, seen) for plane in codes])

    def on(self, codes: Codes, exclusive: bool, seen: Seen) -> Codes:
        """C×H×W codes of classes that exclude each other, or are each by themselves, to others."""
        return self.together(codes, seen) if exclusive else np.stack([self(plane, seen) for plane in codes])


class MaskStep(PostStep):
    """A step after the decision."""

    @abstractmethod
    def __call__(self, mask: Mask, seen: Seen) -> Mask:
        """H×W mask of 0 and 1 to another; the argument stays as it is."""


class EmptyingStep(MaskStep):
    """A step that leaves an image's mask as it is, or empties it, whatever the mask."""

    @abstractmethod
    def keeps(self, seen: Seen) -> bool:
        """Whether the mask stays."""

    def __call__(self, mask: Mask, seen: Seen) -> Mask:
        return mask if self.keeps(seen) else np.zeros_like(mask)
