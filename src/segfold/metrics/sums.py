"""A metric's features added up over images, and the score with its standard error that follows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.metrics.base import Metric

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MeanScore:
    """A score, such as a mean over images, and its standard error; the error of one image is unknown (None)."""

    mean: float
    standard_error: float | None
    images: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.standard_error is None else f"{self.mean:.4f} ± {self.standard_error:.4f}"


@dataclass(frozen=True, eq=False)
class ScoreSums:
    """Of the features of some images; without arguments, of no images, to begin a sum with.

    Attributes:
        total: (K,) sums of the features.
        moments: K×K sums of their products.
        images: how many images.
    """

    total: Floats = field(default_factory=lambda: np.zeros(()))
    moments: Floats = field(default_factory=lambda: np.zeros(()))
    images: int = 0

    @classmethod
    def of(cls, features: npt.NDArray[Any]) -> "ScoreSums":
        """Of N×K features, a row an image."""
        features = np.asarray(features, np.float64)
        # Of one feature by numpy's sum, which rounds less than a product of matrices.
        moments = np.square(features).sum(axis=0)[:, None] if features.shape[1] == 1 else features.T @ features
        return cls(features.sum(axis=0), moments, len(features))

    def __add__(self, other: "ScoreSums") -> "ScoreSums":
        return ScoreSums(self.total + other.total, self.moments + other.moments, self.images + other.images)

    def score(self, metric: Metric) -> MeanScore:
        """The metric's score, with its standard error over images by the delta method.

        With S the totals, M the moments and g the slope of the score in S, the error is the root of
        ``n / (n - 1) · gᵀ (M - S Sᵀ / n) g``; of a mean over images that is their standard deviation / √n. It takes the
        score for straight over the spread of S, so it is rough where few images have a class.
        """
        if not self.images:
            raise ValueError("no images to score")
        mean = self.total / self.images
        value = float(metric.value(self.total, self.images))
        if self.images == 1:
            return MeanScore(value, None, 1)
        # The score depends on means alone, so its slope is taken there: g = slope / n.
        spread = (self.moments - self.images * np.outer(mean, mean)) / (self.images - 1)
        slope = metric.gradient(mean, 1)
        variance = max(float(slope @ spread @ slope), 0.0)
        return MeanScore(value, float(np.sqrt(variance / self.images)), self.images)
