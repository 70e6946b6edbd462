"""Mean scores over images with their standard errors, from sums that add up over parts of the images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.metrics import MeanScore

__all__ = ["MeanScore", "ScoreSums"]


@dataclass(frozen=True)
class ScoreSums:
    """Of the scores of some images.

    Attributes:
        total: sum of the scores.
        squares: sum of their squares.
        images: how many there are.
    """

    total: float = 0.0
    squares: float = 0.0
    images: int = 0

    @classmethod
    def of(cls, scores: npt.NDArray[Any]) -> "ScoreSums":
        """Of (N,) scores."""
        scores = np.asarray(scores, np.float64)
        return cls(float(scores.sum()), float((scores**2).sum()), scores.size)

    def __add__(self, other: "ScoreSums") -> "ScoreSums":
        return ScoreSums(self.total + other.total, self.squares + other.squares, self.images + other.images)

    @property
    def mean(self) -> MeanScore:
        """Their mean, with its error."""
        mean = self.total / self.images
        if self.images == 1:
            return MeanScore(mean, None, 1)
        spread = max(self.squares - self.images * mean**2, 0.0) / (self.images - 1)
        return MeanScore(mean, float(np.sqrt(spread / self.images)), self.images)
