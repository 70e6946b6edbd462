"""Metrics of the whole set from the pixels of each class: in all images together, what was right, predicted and true.

With I the pixels of a class that were found, P those predicted, T the true ones and U = P + T - I, each summed over the
images. Pixels that do not count (void) are in none of them.

**A class that is absent** from what it would be divided by is left out of the mean over classes; a class that is predicted
but never true is not absent where P is below the line, and scores 0. Other software counts absent classes as 0 (the
code of DeconvNet) or 1; on a set that has every class all agree. If every class is left out the score is 1.
"""

from typing import Any

import numpy as np

from segfold.metrics.areas import Counts
from segfold.metrics.base import Array, CountMetric, Floats, MeanOfRatios


class _ClassRatios(MeanOfRatios, CountMetric):
    """A ratio a class."""

    by_class = True

    def ratios(self, classes: int) -> int:
        return classes


class GlobalDice(MeanOfRatios, CountMetric):
    """Dice coefficient of the set, ``2 I / (P + T)``: all images are taken as one.

    Args:
        macro: the mean over classes of each class's coefficient, absent ones left out; otherwise the pixels of all classes
            are added up first, so large classes weigh more. Of one class they are the same.
    """

    def __init__(self, *, macro: bool = False) -> None:
        self.macro = self.by_class = macro

    def ratios(self, classes: int) -> int:
        return classes if self.macro else 1

    def of(self, counts: Counts) -> Floats:
        """``2 I``, then ``P + T``."""
        found, areas = 2 * np.asarray(counts.inter), np.asarray(counts.pred_area) + counts.truth_area
        if not self.macro:
            found, areas = found.sum(axis=-1, keepdims=True), areas.sum(axis=-1, keepdims=True)
        return np.concatenate([found, areas], axis=-1).astype(np.float64)


class MeanIoU(_ClassRatios):
    """IoU of each class over the set, ``I / U``; mean over the classes.

    Classes that are neither true nor predicted in any image are left out (counting them as 0 is the other usage). The
    background is a class like others if the competition lists it.

    Reference:
        Long et al., Fully convolutional networks, 2015 (arXiv 1411.4038), "mean IU".
    """

    def of(self, counts: Counts) -> Floats:
        """``I``, then ``U``, of each class."""
        return np.concatenate([counts.inter, counts.union], axis=-1).astype(np.float64)


class PixelAccuracy(MeanOfRatios, CountMetric):
    """Share of the true pixels of all classes that were found, ``Σ I / Σ T`` over the set: large classes weigh more.

    Where each pixel is of one class that is the share of pixels that are right. Where pixels may be of no class, as in a
    binary mask, it is the recall: what is predicted beside the truth costs nothing. 1 if there are no true pixels.

    Reference:
        Long et al., Fully convolutional networks, 2015 (arXiv 1411.4038), "pixel accuracy".
    """

    def ratios(self, classes: int) -> int:
        return 1

    def of(self, counts: Counts) -> Floats:
        """``Σ I``, then ``Σ T``."""
        return np.stack([counts.inter.sum(axis=-1), counts.truth_area.sum(axis=-1)], axis=-1).astype(np.float64)


class MeanAccuracy(_ClassRatios):
    """Share of each class's true pixels that were found, ``I / T`` over the set; mean over the classes (macro recall).

    Classes that are true in no image are left out, even if they are predicted.

    Reference:
        Long et al., Fully convolutional networks, 2015 (arXiv 1411.4038), "mean accuracy".
    """

    def of(self, counts: Counts) -> Floats:
        """``I``, then ``T``, of each class."""
        return np.concatenate([counts.inter, counts.truth_area], axis=-1).astype(np.float64)


class FrequencyWeightedIoU(CountMetric):
    """IoU of each class over the set, weighed by its true pixels: ``Σ (T · I / U) / Σ T``.

    A class that is never true weighs nothing. Without any true pixel the score is 1 if nothing is predicted, else 0.

    Reference:
        Long et al., Fully convolutional networks, 2015 (arXiv 1411.4038), "frequency weighted IU".
    """

    def size(self, classes: int) -> int:
        return 3 * classes

    def of(self, counts: Counts) -> Floats:
        """``I``, ``U``, then ``T``, of each class."""
        return np.concatenate([counts.inter, counts.union, counts.truth_area], axis=-1).astype(np.float64)

    def value(self, sums: Array, images: Any = None) -> Floats:
        """The weighted mean; how many images the sums are of makes no difference."""
        inter, union, true = np.split(np.asarray(sums, np.float64), 3, axis=-1)
        iou = np.divide(inter, union, out=np.zeros(inter.shape), where=union > 0)
        weight = true.sum(axis=-1)
        score = np.divide((true * iou).sum(axis=-1), weight, out=np.zeros(weight.shape), where=weight > 0)
        return np.where(weight > 0, score, np.where(union.sum(axis=-1) > 0, 0.0, 1.0))
