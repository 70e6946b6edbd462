"""Metrics that score each image by its counts and take the mean over images."""

from segfold.metrics.areas import Counts
from segfold.metrics.base import CountMetric, Floats, MeanOverImages
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


class Dice(_ImageMetric):
    """Dice coefficient of each image and class, mean over classes and images.

    A class that is neither there nor predicted scores 1, and counts, as in the competitions with a row an image and
    class; the background counts as any other class. It is not the Dice coefficient of the set (``global_dice``).
    """

    _score = staticmethod(image_dice)
