"""What a run's curves are added up from: sums of the metric's features over a fold's held-out images.

A score follows from sums that add over images, so the sums of a fold are kept, and curves of a run cost no image twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from segfold.data.images import ImageSet
from segfold.metrics import CountMetric, Counts, MaskMetric, Metric, ObjectMetric, Truth
from segfold.post.threshold import threshold_code
from segfold.statistics.groups import coverage_groups, number_groups
from segfold.store import HALF
from segfold.tasks import Mask
from segfold.tasks.scoring import truth_of

Codes = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float64]

THRESHOLDS = tuple(round(0.05 * number, 2) for number in range(1, 20))
_CODES = [threshold_code(value) for value in THRESHOLDS]
_PLAIN = _CODES.index(HALF)
_REACHED = np.searchsorted(_CODES, np.arange(65536), side="right").astype(np.uint8)
"""How many of the thresholds a code reaches."""

_DEAR = 1 << 24
"""Pixels of a fold, each class counted, beyond which a metric that looks at pixels or objects is not asked again at every
threshold: a second or some."""


@dataclass(frozen=True)
class _Groups:
    """Groups of all training images by something, and the group of each image of a fold."""

    names: Sequence[str]
    number: npt.NDArray[np.int64]

    def sums(self, features: Floats) -> list[dict[str, Any]]:
        inside = [self.number == index for index in range(len(self.names))]
        return [
            {"name": name, "images": int(chosen.sum()), "features": features[chosen].sum(axis=0).tolist()}
            for name, chosen in zip(self.names, inside)
        ]


class FoldSums:
    """Adds up images of a fold, which are given some at a time.

    Args:
        train: the images with their masks.
        rows: (N,) of the fold's images in ``train``.
        metric: the competition's.
    """

    def __init__(self, train: ImageSet, rows: npt.NDArray[np.int64], metric: Metric) -> None:
        self.task, self.metric, self._train, self._rows = train.task, metric, train, rows
        classes = len(self.task.classes)
        self._size = metric.size(classes)
        shapes = train.images.shapes[rows]
        cheap = isinstance(metric, CountMetric) or int((shapes[:, 0] * shapes[:, 1]).sum()) * classes <= _DEAR
        self._swept = cheap and not self.task.exclusive
        self._thresholds = np.zeros((len(THRESHOLDS), self._size))
        self._plain = np.zeros((len(rows), self._size))
        self._confusion = np.zeros((classes, classes), np.int64)
        self._areas = np.zeros((2, classes), np.int64)

    def add(self, images: Sequence[tuple[int, Codes, Mask]]) -> Counts:
        """Adds images, and returns their (n, C) counts.

        Args:
            images: the place of each among the fold's images, its C×H×W codes, and the H×W mask that they make.
        """
        places = [place for place, _, _ in images]
        masks = self._train.masks
        assert masks is not None
        truths = [masks[self._rows[place]] for place in places]
        if self.task.exclusive:
            found = self._confused([mask for _, _, mask in images], truths)
            counts = found
        else:
            found = _level_counts([codes for _, codes, _ in images], truths)
            counts = Counts(*(array[:, _PLAIN] for array in found))
        self._areas += [counts.inter.sum(axis=0), counts.union.sum(axis=0)]
        if isinstance(self.metric, CountMetric):
            features = self.metric.of(found)
            if self._swept:
                self._thresholds += features.sum(axis=0)
                features = features[:, _PLAIN]
            self._plain[places] = features
        else:
            for (place, codes, mask), truth in zip(images, truths):
                self._look(place, codes, mask, truth)
        return counts

    def _confused(self, masks: Sequence[Mask], truths: Sequence[Mask]) -> Counts:
        """(n, C) counts of masks of classes that exclude each other."""
        count = len(self.task.classes)
        inter, predicted, true = (np.zeros((len(masks), count), np.int64) for _ in range(3))
        for number, (mask, truth) in enumerate(zip(masks, truths)):
            found = np.zeros((count, count), np.int64)
            _confuse(mask, truth, found)
            self._confusion += found
            inter[number], predicted[number], true[number] = found.diagonal(), found.sum(axis=0), found.sum(axis=1)
        return Counts(inter, predicted + true - inter, predicted, true)

    def _look(self, place: int, codes: Codes, mask: Mask, known: Mask) -> None:
        """Adds an image by a metric that looks at its pixels or objects."""
        assert isinstance(self.metric, MaskMetric)
        instances = self._train.instances
        truth = truth_of(self.task, known, None if instances is None else instances[self._rows[place]])
        if not self._swept:
            self._plain[place] = self.metric.of(self.task.planes(mask), truth)
            return
        features = _at_thresholds(self.metric, codes, truth)
        self._thresholds += features
        self._plain[place] = features[_PLAIN]

    def record(self) -> dict[str, Any]:
        """The sums as JSON, of all images that were added."""
        train, rows = self._train, self._rows
        exclusive, several = self.task.exclusive, len(self.task.classes) > 1
        whole, swept = self._plain.sum(axis=0), self._thresholds.copy()
        swept[_PLAIN] = whole  # the same to the last bit as what the fold's score was made of
        names, number = coverage_groups(train.coverage)
        tables = {name: number_groups(train.extra[name].to_numpy()) for name in train.extra.columns}
        return {
            "images": len(rows),
            "features": whole.tolist(),
            "thresholds": list(THRESHOLDS) if self._swept else None,
            "swept": swept.tolist() if self._swept else None,
            "coverage": _Groups(names, number[rows]).sums(self._plain),
            "tables": {
                name: _Groups(ranges, numbers[rows]).sums(self._plain) for name, (ranges, numbers) in tables.items()
            },
            "classes": list(self.task.classes),
            "confusion": self._confusion.tolist() if exclusive else None,
            "areas": dict(zip(("intersection", "union"), self._areas.tolist())) if several else None,
        }


def _at_thresholds(metric: MaskMetric, codes: Codes, truth: Truth) -> Floats:
    """(T, K) features of an image."""
    if isinstance(metric, ObjectMetric) and len(codes) == 1:
        # Knows the objects at all thresholds from one pass.
        return metric.swept(codes[0], truth, _CODES, [0])[:, 0]
    return np.array([metric.of(codes >= code, truth) for code in _CODES])


def _level_counts(codes: Sequence[Codes], truths: Sequence[Mask]) -> Counts:
    """(n, T, C) counts of n images at all thresholds.

    Args:
        codes: C×H×W each.
        truths: H×W each, bit c of a pixel set where it has class c.
    """
    found = np.stack([_levels(each, truth, _REACHED, len(THRESHOLDS)) for each, truth in zip(codes, truths)])
    # What reaches a level is of it or of a higher one.
    reached = found[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    predicted, inter = np.moveaxis(reached[:, :, 1:], (3, 1), (0, 3))
    true = np.broadcast_to(reached[:, None, :, 0, 1], inter.shape)
    return Counts(inter, predicted + true - inter, predicted, true)


@numba.njit(nogil=True, cache=True)
def _levels(codes: Any, truth: Any, reached: Any, top: Any) -> Any:
    """C×(top + 1)×2 pixels of each class that reach just so many thresholds, and how many of them are true."""
    found = np.zeros((codes.shape[0], top + 1, 2), np.int64)
    for index in range(codes.shape[0]):
        last, pixels, true = 0, 0, 0
        for y in range(codes.shape[1]):
            for x in range(codes.shape[2]):
                level = reached[codes[index, y, x]]
                if level != last:  # rare: neighbours mostly are of one level
                    found[index, last, 0] += pixels
                    found[index, last, 1] += true
                    last, pixels, true = level, 0, 0
                pixels += 1
                true += truth[y, x] >> index & 1
        found[index, last, 0] += pixels
        found[index, last, 1] += true
    return found


@numba.njit(nogil=True, cache=True)
def _confuse(mask: Any, truth: Any, found: Any) -> None:
    """Adds pixels to a C×C table by true class (rows) and predicted one; a truth of no class does not count."""
    count = len(found)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if truth[y, x] < count and mask[y, x] < count:
                found[truth[y, x], mask[y, x]] += 1
