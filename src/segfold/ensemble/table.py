"""The scores of all combinations of what can be tried at once, in one pass over the out-of-fold predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.ensemble.axes import SWEPT, THRESHOLD, Axis
from segfold.ensemble.blend import Blended
from segfold.ensemble.evidence import Floats, Images, rounded
from segfold.ensemble.sweep import Sweep
from segfold.metrics import CountMetric, Counts, MaskMetric, Metric, ScoreSums, Truth
from segfold.post import POST, Seen
from segfold.post.components import MinArea
from segfold.post.threshold import threshold_code

Kept = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """What every combination of some axes' values adds up to, by part.

    Attributes:
        axes: of the combinations; the last ones are threshold and smallest component, where there is a threshold.
        total: parts × the axes' values × K, sums of the images' features.
        moments: the same × K×K, of their products.
        images: (parts,) how many there are.
        metric: whose features they are.
    """

    axes: Sequence[Axis]
    total: Floats
    moments: Floats
    images: npt.NDArray[np.int64]
    metric: Metric

    def sums(self, at: tuple[int, ...], part: int) -> ScoreSums:
        """Of one combination on one part."""
        place = (part, *at)
        return ScoreSums(self.total[place], self.moments[place], int(self.images[part]))


class _Group:
    """Sums of images of one part that the same values of the emptying steps leave as they are."""

    def __init__(self, shape: tuple[int, ...], kept: Kept) -> None:
        self.kept, self.images = kept, 0
        self.total, self.moments = np.zeros(shape), np.zeros((*shape, shape[-1]))
        self.emptied, self.emptied_moments = np.zeros(shape[-1]), np.zeros((shape[-1], shape[-1]))

    def add(self, found: Floats, empty: Floats) -> None:
        self.total += found
        self.moments += _products(found)
        self.emptied += empty
        self.emptied_moments += _products(empty)
        self.images += 1


def _products(found: Floats) -> Floats:
    return found[..., :, None] * found[..., None, :]


class _Cells:
    """The features of an image for every combination of a table's axes."""

    def __init__(self, axes: Sequence[Axis], images: Images) -> None:
        named = {axis.name: axis for axis in axes}
        joint = [axis for axis in axes if not axis.alone]
        before, emptying = ([axis for axis in joint if axis.where == where] for where in ("probabilities", "images"))
        self.task, self.metric = images.task, images.metric
        self.axes = [*before, *emptying]
        self.variants = list(product(*(_steps(axis) for axis in before)))
        self.emptiers = [_steps(axis) for axis in emptying]
        self.kinds = int(np.prod([len(steps) for steps in self.emptiers]))
        self.swept = (1, 1)
        if THRESHOLD in named:
            self.axes += [named[THRESHOLD], named[SWEPT]]
            self.thresholds = [threshold_code(value) for value in named[THRESHOLD].values]
            self.areas = [0 if settings is None else settings["min_area"] for settings in named[SWEPT].values]
            self.sweep = Sweep(self.thresholds, self.areas)
            self.swept = self.sweep.shape
        self.shape = len(self.variants), *self.swept, self.metric.size(len(self.task.classes))

    def __call__(self, blended: Blended, truth: Truth, seen: Seen) -> tuple[Floats, Floats, Kept]:
        """(variants, T, A, K) features; (K,) of an empty mask; which values of the emptying steps leave the mask as it is."""
        found = np.empty(self.shape)
        for number, steps in enumerate(self.variants):
            codes = blended.codes
            for step in steps:
                codes = codes if step is None else step.on(codes, self.task.exclusive, seen)
            found[number] = self._of(codes, truth)
        kept = np.ones((), bool)
        for values in self.emptiers:
            kept = kept[..., None] & np.array([step is None or step.keeps(seen) for step in values])
        return rounded(found), rounded(self._of_empty(truth)), kept.reshape(-1)

    def _of(self, codes: npt.NDArray[np.uint16], truth: Truth) -> Floats:
        """(T, A, K)."""
        if self.task.exclusive:
            return self._of_planes(self.task.planes(self.task.decided(codes, ())), truth)
        if isinstance(self.metric, CountMetric):
            each = [self.sweep(plane, true.view(np.uint8)) for plane, true in zip(codes, truth.planes)]
            inter = np.stack([inter.ravel() for inter, _, _ in each], axis=-1)
            predicted = np.stack([area.ravel() for _, area, _ in each], axis=-1)
            true = np.broadcast_to([area for _, _, area in each], inter.shape)
            return self.metric.of(Counts(inter, predicted + true - inter, predicted, true)).reshape(*self.swept, -1)
        assert isinstance(self.metric, MaskMetric)
        if len(codes) == 1:
            return self.metric.swept(codes[0], truth, self.thresholds, self.areas)
        found = np.empty(self.shape[1:])
        for t, threshold in enumerate(self.thresholds):
            planes = (codes >= threshold).view(np.uint8)
            for a, area in enumerate(self.areas):
                planes = np.stack([MinArea(min_area=area)(plane, _NOTHING) for plane in planes])
                found[t, a] = self.metric.of(planes > 0, truth)
        return found

    def _of_empty(self, truth: Truth) -> Floats:
        """(K,): of no pixel of any class, or all of the background."""
        if not self.emptiers:
            return np.zeros(self.shape[-1])
        planes = np.zeros_like(truth.planes)
        if self.task.background is not None:
            planes[self.task.background] = True
        return self._of_planes(planes, truth)

    def _of_planes(self, planes: npt.NDArray[np.bool_], truth: Truth) -> Floats:
        if isinstance(self.metric, MaskMetric):
            return self.metric.of(planes, truth)
        assert isinstance(self.metric, CountMetric)
        counted = planes if truth.valid is None else planes & truth.valid
        inter, predicted, true = (
            np.array([np.count_nonzero(plane) for plane in each])
            for each in (counted & truth.planes, counted, truth.planes)
        )
        return self.metric.of(Counts(inter, predicted + true - inter, predicted, true))


_NOTHING = Seen(lambda: np.zeros((0, 0, 0)))


def score_table(images: Images, axes: Sequence[Axis]) -> Table:
    """Scores of all combinations of the values of some axes, in one pass over the predictions.

    Those are: steps before the decision, steps that empty images, the threshold and the smallest component. Lowering a
    threshold only adds pixels, so all thresholds and smallest components cost one sweep over an image; what empties an
    image costs nothing. Axes of anything else, and those that are tried alone, are left out.
    """
    return _tables(images, [_Cells(axes, images)], lambda blended, truth: [(blended, truth)])[0]


def class_tables(images: Images, axes: Sequence[Sequence[Axis]]) -> list[Table]:
    """``score_table`` of each class by itself, with axes of its own, still in one pass."""

    def by_class(blended: Blended, truth: Truth) -> list[tuple[Blended, Truth]]:
        return [
            (
                blended._replace(codes=blended.codes[i : i + 1]),
                Truth(truth.planes[i : i + 1], truth.valid, truth.objects),
            )
            for i in range(len(axes))
        ]

    return _tables(images, [_Cells(some, images.of_class(index)) for index, some in enumerate(axes)], by_class)


def _tables(
    images: Images, cells: Sequence[_Cells], pieces: Callable[[Blended, Truth], list[tuple[Blended, Truth]]]
) -> list[Table]:
    """A table for each of some cells, which get a piece of each image."""

    def work(blended: Blended) -> list[tuple[Floats, Floats, Kept]]:
        seen = images.seen(blended)
        each = pieces(blended, images.whole_truth(blended))
        return [cell(*piece, seen) for cell, piece in zip(cells, each, strict=True)]

    groups: list[dict[tuple[int, bytes], _Group]] = [{} for _ in cells]
    for part, results in images.each(work):
        for cell, its, (found, empty, kept) in zip(cells, groups, results):
            key = part, kept.tobytes()
            if key not in its:
                its[key] = _Group(cell.shape, kept)
            its[key].add(found, empty)
    return [_table(cell, its, images.parts) for cell, its in zip(cells, groups)]


def _table(cell: _Cells, groups: dict[tuple[int, bytes], _Group], parts: int) -> Table:
    size = cell.shape[-1]
    shape: tuple[int, ...] = parts, cell.shape[0], cell.kinds, *cell.shape[1:]
    total, moments, counts = np.zeros(shape), np.zeros((*shape, size)), np.zeros(parts, np.int64)
    for (part, _), group in groups.items():
        for into, sums, emptied in (
            (total[part], group.total, group.emptied),
            (moments[part], group.moments, group.emptied_moments),
        ):
            into[:, group.kept] += sums[:, None]
            into[:, ~group.kept] += emptied
        counts[part] += group.images
    lengths = [len(axis.values) for axis in cell.axes]
    shape = parts, *lengths, size
    return Table(cell.axes, total.reshape(shape), moments.reshape(*shape, size), counts, cell.metric)


def _steps(axis: Axis) -> list[Any]:
    return [None if settings is None else POST[axis.name](**settings) for settings in axis.values]
