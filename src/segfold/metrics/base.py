"""What a metric is: some numbers of each image, and a score that follows from their sums over the images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.metrics.areas import Counts
from segfold.metrics.truth import Truth, components

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_STEP = 1e-5  # of a numeric slope, as a share of the number


class Metric(ABC):
    """A score of images from K numbers of each, its features, that are added up; settings are keyword-only.

    Sums add over parts of the images, so a score needs no image twice. A law that ``ScoreSums.score`` rests on:
    the score depends on the features' means alone, ``value(S, n) = value(S / n, 1)``.

    Attributes:
        by_class: whether the score of several classes is the mean of what each scores by itself, so that each can be
            decided by itself.
    """

    by_class: bool = False

    @abstractmethod
    def size(self, classes: int) -> int:
        """K, how many features an image has, for so many classes."""

    @abstractmethod
    def value(self, sums: Array, images: Any) -> Floats:
        """The score, never NaN.

        Args:
            sums: (…, K) sums of the images' features.
            images: how many images they are of, a number or an array that broadcasts to (…).

        Returns:
            (…), in 0…1.
        """

    def gradient(self, sums: Array, images: Any) -> Floats:
        """Slope of the score in each of the (K,) sums; by central differences where a metric does not know better."""
        sums = np.asarray(sums, np.float64)
        step = _STEP * np.where(sums == 0, np.abs(sums).max() or 1.0, np.abs(sums))
        return (self.value(sums + np.diag(step), images) - self.value(sums - np.diag(step), images)) / (2 * step)


class CountMetric(Metric):
    """A metric that knows an image by its counts of pixels."""

    @abstractmethod
    def of(self, counts: Counts) -> Floats:
        """The features of images.

        Args:
            counts: arrays of one shape (…, C), the last axis the classes.

        Returns:
            (…, K).
        """


class MaskMetric(Metric):
    """A metric that must see the pixels or the objects of an image."""

    @abstractmethod
    def of(self, pred: npt.NDArray[np.bool_], truth: Truth) -> Floats:
        """The (K,) features of one image, ``pred`` its C×H×W predicted planes."""

    def swept(self, codes: Array, truth: Truth, thresholds: Sequence[int], areas: Sequence[int]) -> Floats:
        """The features of an image of one class for all thresholds and smallest components.

        Args:
            codes: H×W uint16; foreground is ``codes >= threshold``.
            truth: of one class.
            thresholds: (T,) not decreasing.
            areas: (A,) not decreasing; an 8-connected component of at least so many pixels stays.

        Returns:
            (T, A, K).
        """
        check_sweep(codes, truth, thresholds, areas)
        found = np.empty((len(thresholds), len(areas), self.size(1)))
        for row, threshold in zip(found, thresholds):
            labels, pixels = components(codes >= threshold)
            last = None
            for column, area in enumerate(areas):
                keep = pixels >= area
                keep[0] = False
                if last is None or (keep != last).any():
                    row[column] = self.of(keep[labels][None], truth)
                else:
                    row[column] = row[column - 1]
                last = keep
        return found


def check_sweep(codes: Array, truth: Truth, thresholds: Sequence[int], areas: Sequence[int]) -> None:
    """Raises ValueError if the arguments of ``MaskMetric.swept`` do not go together."""
    if truth.planes.shape != (1, *codes.shape):
        raise ValueError(f"codes of {codes.shape}, truth of {truth.planes.shape}: expected one class of one size")
    for name, values in (("thresholds", thresholds), ("areas", areas)):
        if not len(values) or values[0] < 0 or (np.diff(np.asarray(values, np.int64)) < 0).any():
            raise ValueError(f"{name} {values}: expected numbers from 0 that do not decrease")


class MeanOverImages(Metric):
    """The feature is the image's own score, and the score of a set is their mean; 0 without images."""

    def size(self, classes: int) -> int:
        return 1

    def value(self, sums: Array, images: Any) -> Floats:
        """The mean."""
        return np.asarray(np.asarray(sums, np.float64)[..., 0] / np.maximum(images, 1))

    def gradient(self, sums: Array, images: Any) -> Floats:
        """One n-th."""
        return np.full(1, 1.0) / np.maximum(images, 1)


class MeanOfRatios(Metric):
    """The mean of R ratios of sums; the features are the R numbers above and the R numbers below.

    A ratio with nothing below is left out of the mean; if all are, the score is 1: nothing was there and nothing wrong.
    """

    @abstractmethod
    def ratios(self, classes: int) -> int:
        """R."""

    def size(self, classes: int) -> int:
        return 2 * self.ratios(classes)

    def each(self, sums: Array) -> Floats:
        """(…, R) every ratio by itself, for a table of the classes; NaN where nothing is below."""
        above, below = np.split(np.asarray(sums, np.float64), 2, axis=-1)
        return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)

    def value(self, sums: Array, images: Any = None) -> Floats:
        """The mean of the ratios; how many images the sums are of makes no difference."""
        each = self.each(sums)
        there = np.count_nonzero(~np.isnan(each), axis=-1)
        return np.where(there > 0, np.nansum(each, axis=-1) / np.maximum(there, 1), 1.0)

    def gradient(self, sums: Array, images: Any = None) -> Floats:
        """Of a/b: 1/b and -a/b²; 0 for a ratio that is left out."""
        above, below = np.split(np.asarray(sums, np.float64), 2)
        there = below > 0
        slope = np.divide(1.0, below * max(int(np.count_nonzero(there)), 1), out=np.zeros(below.shape), where=there)
        return np.concatenate([slope, -slope * np.divide(above, below, out=np.zeros(below.shape), where=there)])
