"""Metrics of objects: predicted ones are the 8-connected components of the mask, matched with the true ones by their IoU.

At each of the IoU thresholds .50, .55, … .95 a predicted object and a true one match if their IoU is *greater* than the
threshold. Neither kind overlaps its own, so above one half an object has one match at most. A pixel that does not count
(void) is in no object; a predicted object all of such pixels is none.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.metrics.base import Array, Floats, MaskMetric, MeanOverImages, check_sweep
from segfold.metrics.matching import matches
from segfold.metrics.truth import Truth

Integers = npt.NDArray[np.int64]


class ObjectMetric(MeanOverImages, MaskMetric):
    """A score of an image from how many objects match at each threshold, how many were predicted and how many are true."""

    @abstractmethod
    def _scores(self, matched: Integers, predicted: Any, true: int) -> Floats:
        """At each threshold: (…, 10) of (…, 10) matched, (…, 1) predicted, and true objects."""

    def of(self, pred: npt.NDArray[np.bool_], truth: Truth) -> Floats:
        """(1,): objects match within their class, and those of all classes are counted together."""
        if pred.shape != truth.planes.shape:
            raise ValueError(f"prediction of {pred.shape}, truth of {truth.planes.shape}: expected one shape")
        matched, predicted, true = np.zeros(10, np.int64), np.zeros(1, np.int64), 0
        for index, plane in enumerate(pred):
            found = _counts(np.asarray(plane, np.uint16), truth, index, 1, [0])
            matched += found[0][0, 0]
            predicted += found[1][0, 0]
            true += found[2]
        return self._scores(matched, predicted, true).mean(keepdims=True)

    def of_objects(self, pred: Sequence[Array], truth: Sequence[Array]) -> Floats:
        """(1,): as ``of``, of predicted objects that are told apart and so may touch.

        Args:
            pred: of each class, H×W the number of the object that a pixel belongs to, 0 for none.
            truth: the same.
        """
        matched, predicted, true = np.zeros(10, np.int64), np.zeros(1, np.int64), 0
        for found, known in zip(pred, truth, strict=True):
            names, rows = np.unique(np.append(found, 0), return_inverse=True)  # one pixel more, so that 0 is there
            others, columns = np.unique(np.append(known, 0), return_inverse=True)
            pairs = np.bincount(rows * len(others) + columns, minlength=len(names) * len(others))
            shared = pairs.reshape(len(names), len(others))
            inter = shared[1:, 1:]
            union = shared.sum(axis=1)[1:, None] + shared.sum(axis=0)[1:] - inter
            matched += [np.count_nonzero(20 * inter > union * (10 + k)) for k in range(10)]
            predicted += len(names) - 1
            true += len(others) - 1
        return self._scores(matched, predicted, true).mean(keepdims=True)

    def swept(self, codes: Array, truth: Truth, thresholds: Sequence[int], areas: Sequence[int]) -> Floats:
        """(T, A, 1) in one pass over the pixels, see ``MaskMetric.swept``."""
        check_sweep(codes, truth, thresholds, areas)
        reach = np.bincount(np.minimum(thresholds, 65536), minlength=65537)[:65536].cumsum().astype(np.uint16)
        matched, predicted, true = _counts(reach[codes], truth, 0, len(thresholds), areas)
        return self._scores(matched, predicted, true).mean(axis=-1, keepdims=True)


def _counts(
    levels: npt.NDArray[np.uint16], truth: Truth, index: int, count: int, areas: Sequence[int]
) -> tuple[Integers, Integers, int]:
    """Objects of a class: (T, A, 10) matched, (T, A, 1) predicted, true. ``levels``: thresholds that a pixel reaches."""
    pixels = levels.size
    # Class of a component by its area: the last smallest area that it reaches; A if it reaches none.
    reached = np.bincount(np.minimum(areas, pixels + 1), minlength=pixels + 2).cumsum()
    class_of = np.where(reached > 0, reached - 1, len(areas)).astype(np.int32)
    valid = np.ones(levels.shape, np.bool_) if truth.valid is None else truth.valid
    matched, predicted, true = matches(
        np.ascontiguousarray(levels), truth.objects_of(index), np.ascontiguousarray(valid), class_of, count, len(areas)
    )
    # What stays for a smallest area is of its class or a later one, and k hits are k - 1 and one more.
    matched = matched[:, ::-1, ::-1].cumsum(axis=1).cumsum(axis=2)[:, ::-1, ::-1]
    return matched[..., 1:], predicted[:, ::-1].cumsum(axis=1)[:, ::-1, None], true


class ObjectPrecision(ObjectMetric):
    """Mean over the IoU thresholds of ``TP / (TP + FP + FN)`` of an image's objects; mean over images.

    An image without objects, true or predicted, scores 1; the competition had none.

    Reference:
        2018 Data Science Bowl, https://www.kaggle.com/c/data-science-bowl-2018#evaluation: "a hit if its intersection over
        union with a ground truth object is greater than 0.5"; so too the host's example,
        https://www.kaggle.com/wcukierski/example-metric-implementation (``iou > threshold``).
    """

    def _scores(self, matched: Integers, predicted: Any, true: int) -> Floats:
        return _share(matched, predicted + true - matched)


class ObjectF2(ObjectMetric):
    """Mean over the IoU thresholds of the F2 score of an image's objects, ``5 TP / (5 TP + 4 FN + FP)``; mean over images.

    An image without objects, true or predicted, scores 1.

    Reference:
        Airbus Ship Detection Challenge, 2018, https://www.kaggle.com/c/airbus-ship-detection#evaluation: a hit is "greater
        than" the threshold, β = 2.
    """

    def _scores(self, matched: Integers, predicted: Any, true: int) -> Floats:
        return _share(5 * matched, predicted + 4 * true + np.zeros_like(matched))


def _share(part: Integers, whole: Integers) -> Floats:
    """Where there is nothing at all, everything is right."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
