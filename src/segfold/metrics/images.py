"""Metrics that score each image by its counts and take the mean over images."""

from typing import Any, Literal

import numpy as np

from segfold.metrics.areas import Counts
from segfold.metrics.base import Array, CountMetric, Floats, MeanOfRatios, MeanOverImages
from segfold.metrics.dice import image_dice
from segfold.metrics.iou import image_iou
from segfold.metrics.precision import ImageScore, score_counts


class _ImageMetric(MeanOverImages, CountMetric):
    """The mean over an image's classes of a score from pixel counts."""

    by_class = True
    _score: ImageScore

    def of(self, counts: Counts) -> Floats:
        """(…, 1): an image's mean over its classes."""
        scores = type(self)._score(*counts)
        return scores if scores.shape[-1] == 1 else scores.mean(axis=-1, keepdims=True)


class Precision(_ImageMetric):
    """Precision over the IoU thresholds .50, .55, … .95 of one mask an image and class, mean over classes and images.

    A class that is neither there nor predicted scores 1, and counts; the background counts as any other class.

    Reference:
        TGS Salt Identification Challenge, 2018.
    """

    _score = staticmethod(score_counts)


class IoU(_ImageMetric):
    """IoU of each image and class, mean over classes and images.

    A class that is neither there nor predicted scores 1, and counts; the background counts as any other class. It is
    not the IoU of the set (``miou``), in which large regions weigh more.
    """

    _score = staticmethod(image_iou)


class _OneRatio(MeanOfRatios):
    """A sum of scores over how many they are."""

    def ratios(self, classes: int) -> int:
        return 1


class Dice(_ImageMetric):
    """Dice coefficient of each image and class, mean over classes and images.

    The background counts as any other class. It is not the Dice coefficient of the set (``global_dice``).

    Args:
        empty: what becomes of a class that is neither there nor predicted in an image: ``one``, it scores 1, and counts,
            as in most competitions with a row an image and class; ``skip``, the image and class are left out, and the mean
            is over all those that are left, so a class that is there more often weighs more. If none is left the score is 1.
    """

    _score = staticmethod(image_dice)
    _kept = _OneRatio()

    def __init__(self, *, empty: Literal["one", "skip"] = "one") -> None:
        self.empty = empty
        self.by_class = empty == "one"

    def size(self, classes: int) -> int:
        return super().size(classes) if self.empty == "one" else self._kept.size(classes)

    def of(self, counts: Counts) -> Floats:
        """(…, 1): an image's mean over its classes; or (…, 2), the sum over those that are left, and their number."""
        if self.empty == "one":
            return super().of(counts)
        left = np.asarray(counts.union) > 0
        scores = np.where(left, image_dice(*counts), 0.0)
        return np.stack([scores.sum(axis=-1), left.sum(axis=-1, dtype=np.float64)], axis=-1)

    def value(self, sums: Array, images: Any) -> Floats:
        """The mean, over images or over what is left."""
        return super().value(sums, images) if self.empty == "one" else self._kept.value(sums)

    def gradient(self, sums: Array, images: Any) -> Floats:
        """Of the mean."""
        return super().gradient(sums, images) if self.empty == "one" else self._kept.gradient(sums)
