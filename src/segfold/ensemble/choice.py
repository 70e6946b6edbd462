"""The choice for all classes: class by class where the metric allows it, else one decision for all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from segfold.ensemble.axes import Axis
from segfold.ensemble.evidence import Floats, Images, whole_sums
from segfold.ensemble.search import Fitted, Scores, Search
from segfold.ensemble.table import class_tables, score_table
from segfold.metrics import METRICS, CountMetric, Counts, MaskMetric, MeanScore, Metric, ScoreSums, Truth
from segfold.post import Decisions

Grid = Callable[[int | None], Sequence[Axis]]
"""The axes of a class by its index, or of all classes together."""


@dataclass(frozen=True)
class Tried:
    """A decision that was chosen, its scores, and what it was chosen among."""

    fitted: Fitted
    axes: Sequence[Axis]


@dataclass(frozen=True)
class Choice:
    """What was chosen for the classes of a competition.

    Attributes:
        shared: the decision of all classes; None where each has its own.
        classes: of each class by its name; empty where the classes share a decision.
        scores: of the whole.
        class_scores: of each class by its name, in the competition's metric where that is a mean over classes, else its
            IoU over the set; of several classes only. The choice is the whole one.
    """

    shared: Tried | None
    scores: Scores
    classes: Mapping[str, Tried] = field(default_factory=dict)
    class_scores: Mapping[str, Scores] = field(default_factory=dict)


class Chooser:
    """Chooses what turns a blend into masks.

    Classes that are each by themselves get a decision each if the score is a mean over classes of what each scores
    alone; the whole is then scored with all their decisions together. Others share one.
    """

    def __init__(self, images: Images, grid: Grid, has_parts: bool = True) -> None:
        """
        Args:
            images: the blend.
            grid: what may be chosen.
            has_parts: see ``Search``.
        """
        self.images = images
        task = images.task
        count = len(task.classes)
        self.by_class = not task.exclusive and images.metric.by_class and count > 1
        if self.by_class:
            self.grids = [grid(index) for index in range(count)]
            tables = class_tables(images, self.grids)
            self.searches = [
                Search(images.of_class(index), axes, table, has_parts)
                for index, (axes, table) in enumerate(zip(self.grids, tables))
            ]
        else:
            self.grids = [grid(None)]
            self.searches = [Search(images, self.grids[0], score_table(images, self.grids[0]), has_parts)]

    @property
    def plain(self) -> Decisions:
        """A threshold of one half where there is one, every step left out."""
        return Decisions(self.images.task, tuple(search.plain for search in self.searches))

    def fit(self, parts: Sequence[int]) -> Decisions:
        """The choice on some parts."""
        return Decisions(self.images.task, tuple(search.fit(parts) for search in self.searches))

    def scores(self, parts: Sequence[int]) -> tuple[MeanScore, MeanScore]:
        """Of the plain decisions and of those chosen on some parts, both on all images; of one and the same the latter flatters."""
        found = whole_sums(self.images, [self.plain, self.fit(parts)])
        plain, tuned = (sum(sums, ScoreSums()).score(self.images.metric) for sums in found)
        return plain, tuned

    def choice(self, nested_over: str) -> Choice:
        """The choice on all images, with its scores.

        Args:
            nested_over: what the parts are, for people.
        """
        fitted = [search.fitted(nested_over) for search in self.searches]
        tried = [Tried(each, axes) for each, axes in zip(fitted, self.grids)]
        task = self.images.task
        if len(task.classes) == 1:
            return Choice(tried[0], fitted[0].scores)
        decisions = self.plain, Decisions(task, tuple(each.decision for each in fitted))
        if self.by_class:
            sums = _honest(self.images, decisions, self.fit, self.searches[0].parts)
            return Choice(
                None,
                _scores(sums, self.images.metric, nested_over),
                dict(zip(task.classes, tried)),
                {name: each.scores for name, each in zip(task.classes, fitted)},
            )
        metric = _EachClass(class_metric(self.images.metric), len(task.classes))
        sums = _honest(replace(self.images, metric=metric), decisions, self.fit, self.searches[0].parts)
        class_scores = {
            name: _scores([metric.part(each, index) for each in sums], metric.metric, nested_over)
            for index, name in enumerate(task.classes)
        }
        return Choice(tried[0], fitted[0].scores, class_scores=class_scores)


def choose(images: Images, grid: Grid, nested_over: str, has_parts: bool = True) -> Choice:
    """What turns a blend into masks; see ``Chooser``."""
    return Chooser(images, grid, has_parts).choice(nested_over)


def _honest(
    images: Images,
    fixed: tuple[Decisions, Decisions],
    fit: Callable[[Sequence[int]], Decisions],
    parts: Sequence[int],
) -> list[ScoreSums | None]:
    """Sums of the plain and the tuned decisions on all images, and of those fitted on the other parts on each, in one pass."""
    rests = [fit([other for other in parts if other != part]) for part in parts] if len(parts) > 1 else []
    found = whole_sums(images, [*fixed, *rests])
    plain, tuned = (sum(sums, ScoreSums()) for sums in found[:2])
    nested = [sums[part] for sums, part in zip(found[2:], parts)]
    return [plain, tuned, sum(nested, ScoreSums()) if nested else None]


def _scores(sums: Sequence[ScoreSums | None], metric: Metric, nested_over: str) -> Scores:
    plain, tuned, nested = (None if each is None else each.score(metric) for each in sums)
    assert plain is not None and tuned is not None
    return Scores(plain, tuned, nested, nested_over)


def class_metric(metric: Metric) -> Metric:
    """What one class alone is scored by."""
    return metric if metric.by_class else METRICS["miou"]()


class _EachClass(MaskMetric):
    """The features of each class by itself, one after the other; it has no score of its own."""

    def __init__(self, metric: Metric, classes: int) -> None:
        self.metric, self.classes, self.each = metric, classes, metric.size(1)

    def size(self, classes: int) -> int:
        return self.each * classes

    def value(self, sums: Floats, images: int) -> Floats:
        raise NotImplementedError

    def of(self, pred: np.ndarray, truth: Truth) -> Floats:
        return np.concatenate([self._of(pred[i : i + 1], truth, i) for i in range(self.classes)])

    def _of(self, pred: np.ndarray, truth: Truth, index: int) -> Floats:
        true = truth.planes[index : index + 1]
        if isinstance(self.metric, MaskMetric):
            return self.metric.of(pred, Truth(true, truth.valid, truth.objects))
        assert isinstance(self.metric, CountMetric)
        counted = pred if truth.valid is None else pred & truth.valid
        inter, predicted, area = (np.array([np.count_nonzero(each)]) for each in (counted & true, counted, true))
        return self.metric.of(Counts(inter, predicted + area - inter, predicted, area))

    def part(self, sums: ScoreSums | None, index: int) -> ScoreSums | None:
        """Of one class."""
        if sums is None:
            return None
        own = slice(index * self.each, (index + 1) * self.each)
        return ScoreSums(sums.total[own], sums.moments[own, own], sums.images)
