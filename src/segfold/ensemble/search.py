"""The decision that a blend is made into masks by, chosen on out-of-fold predictions and reported honestly.

What is chosen, how, and which steps stay is one ``fit``; the nested estimate makes all of it anew on the other parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.ensemble.axes import SWEPT, THRESHOLD, Axis
from segfold.ensemble.evidence import Images, decision_sums
from segfold.ensemble.nested import nested
from segfold.ensemble.score import MeanScore, ScoreSums
from segfold.ensemble.table import Table
from segfold.post import POST, Decision

_TIE = 1e-7  # means of float32 scores differ by less than this for no reason; one hit is far more
_CHANCE = 0.1  # of a standard error: by less than this, nested scores of the same images are better by chance


@dataclass(frozen=True)
class Trial:
    """A threshold or post step that was tried on top of those that had stayed before it.

    Attributes:
        name: of the axis.
        setting: what it was set to; None where it was left out for the best.
        tuned: score of the choice on the images that it was made on, which flatters.
        nested: the choice made on the other parts, scored on each part.
        kept: whether it stays: whether the nested score is better with it, by a tenth of its standard error or more.
    """

    name: str
    setting: Any
    tuned: MeanScore
    nested: MeanScore
    kept: bool


@dataclass(frozen=True)
class Scores:
    """What a decision scores out of fold.

    Attributes:
        plain: threshold 0.5, no post step.
        tuned: the decision on the images that it was chosen on: too good.
        nested: all of the choice, which steps stay too, made on the other parts and scored on each part; None where
            there are no parts.
        nested_over: what the parts are, for people.
        trials: in their order.
        at_edge: names of what lies at an end of what was tried, where a better one may lie beyond.
    """

    plain: MeanScore
    tuned: MeanScore
    nested: MeanScore | None
    nested_over: str
    trials: tuple[Trial, ...] = ()
    at_edge: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """A decision and its scores."""

    decision: Decision
    scores: Scores


@dataclass(frozen=True)
class _Chosen:
    """A combination of the table's axes, and the values of the other steps, by the name of their axis."""

    at: tuple[int, ...]
    steps: tuple[tuple[str, int], ...] = ()


class Search:
    """Chooses among the values of some axes.

    What the table has (mostly the threshold, the smallest component and all that works on probabilities or empties whole
    images) is chosen together; each further step, above all those of masks, is then chosen for what these are. A step is
    tried on top of those that stayed before it, and stays if the nested score is better with it.
    """

    def __init__(self, images: Images, axes: Sequence[Axis], table: Table, has_parts: bool = True) -> None:
        """
        Args:
            images: what steps are scored on that the table does not have.
            axes: the threshold, the smallest component, and whatever else is to be tried, in this order.
            table: of ``score_table`` or ``class_tables`` for these axes.
            has_parts: whether a part can be scored by what did not see it; else nothing is nested, and only threshold
                and smallest component are chosen.
        """
        self.images, self.axes, self.table = images, {axis.name: axis for axis in axes}, table
        self.everything = tuple(range(len(table.images)))
        self.parts = self.everything if has_parts else ()
        in_table = {axis.name for axis in table.axes}
        self.loose = [axis for axis in axes if axis.name not in in_table]
        self._order = _simplest_first(table.axes)
        self._sums: dict[Decision, list[ScoreSums]] = {}
        self._best = cache(self._best_of)

    @property
    def plain(self) -> Decision:
        """A threshold of one half where there is one, every step left out."""
        return self.decision(self._plain)

    @property
    def _plain(self) -> _Chosen:
        return _Chosen(tuple(axis.plain for axis in self.table.axes))

    def fit(self, parts: Sequence[int]) -> Decision:
        """The choice on some parts."""
        return self.decision(self._fit(parts))

    def fitted(self, nested_over: str) -> Fitted:
        """The choice on all images, its trials, and what it scores."""
        names, trials = self._kept(self.parts)
        chosen = self._best(self.everything, names)
        scored = nested(self._fit, self._score, self.parts) if len(self.parts) > 1 else []
        scores = Scores(
            plain=self._over(self._plain, self.everything),
            tuned=self._over(chosen, self.everything),
            nested=self._mean(scored) if scored else None,
            nested_over=nested_over,
            trials=tuple(trials),
            at_edge=tuple(self._edges(chosen)),
        )
        return Fitted(self.decision(chosen), scores)

    def decision(self, chosen: _Chosen) -> Decision:
        """Of a combination."""
        settings: dict[str, Any] = {axis.name: axis.values[i] for axis, i in zip(self.table.axes, chosen.at)}
        settings |= {name: self.axes[name].values[i] for name, i in chosen.steps}
        steps = {name: settings[name] for name in POST if settings.get(name) is not None}
        return Decision.of(settings.get(THRESHOLD), steps)

    def _fit(self, parts: Sequence[int]) -> _Chosen:
        return self._best(tuple(parts), self._kept(tuple(parts))[0])

    def _kept(self, parts: tuple[int, ...]) -> tuple[tuple[str, ...], list[Trial]]:
        """Names of the axes that are chosen on, by what is better on these parts; and how that was found."""
        fixed = tuple(name for name, axis in self.axes.items() if axis.fixed)
        if len(parts) < 2:
            swept = [axis.name for axis in self.table.axes if axis.name in (THRESHOLD, SWEPT)]
            return tuple(name for name in self.axes if name in (*fixed, *swept)), []
        names, trials = fixed, []
        best = self._nested(parts, names)
        for name, axis in self.axes.items():
            if axis.fixed:
                continue
            with_it = (*names, name)
            found = self._nested(parts, with_it)
            kept = found.mean > best.mean + max(_TIE, _CHANCE * (best.standard_error or 0.0))
            chosen = self._best(parts, with_it)
            setting = self._setting(chosen, name)
            trials.append(Trial(name, setting, self._over(chosen, parts), found, kept))
            if kept:
                names, best = with_it, found
        return names, trials

    def _nested(self, parts: tuple[int, ...], names: tuple[str, ...]) -> MeanScore:
        """Of the best values of these axes."""
        if loose := [axis for axis in self.loose if axis.name in names]:
            # One pass over the predictions for the decisions of all parts rather than one for each.
            rests = [tuple(other for other in parts if other != part) for part in parts]
            before = tuple(name for name in names if name != loose[-1].name)
            self._observe([each for rest in rests for each in self._options(self._best(rest, before), loose[-1])])
        scored = nested(lambda rest: self._best(tuple(rest), names), self._score, parts)
        return self._mean(scored)

    def _best_of(self, parts: tuple[int, ...], names: tuple[str, ...]) -> _Chosen:
        """The best values of the named axes on some parts; the others rest. Of equals the simplest."""
        open_ = [axis.open if axis.name in names else (axis.rest,) for axis in self.table.axes]
        total = self.table.total[np.ix_(parts, *open_)].sum(axis=0)
        images = int(self.table.images[list(parts)].sum())
        scores = self.table.metric.value(total, images)
        ties = scores >= scores.max() - _TIE
        order = np.where(ties, self._order[np.ix_(*open_)], self._order.size)
        place = np.unravel_index(int(order.argmin()), order.shape)
        chosen = _Chosen(tuple(values[int(i)] for values, i in zip(open_, place)))
        for axis in self.loose:
            if axis.name in names:
                options = self._options(chosen, axis)
                self._observe(options)
                means = [self._over(option, parts).mean for option in options]
                chosen = next(option for option, mean in zip(options, means) if mean >= max(means) - _TIE)
        return chosen

    def _options(self, chosen: _Chosen, axis: Axis) -> list[_Chosen]:
        return [_Chosen(chosen.at, (*chosen.steps, (axis.name, i))) for i in axis.open]

    def _observe(self, options: Sequence[_Chosen]) -> None:
        wanted = {self.decision(option): None for option in options if self._has_loose(option)}
        if new := [decision for decision in wanted if decision not in self._sums]:
            self._sums |= decision_sums(self.images, new)

    def _has_loose(self, chosen: _Chosen) -> bool:
        """Whether a step is in it that the table does not know."""
        return any(self.axes[name].values[i] is not None for name, i in chosen.steps)

    def _score(self, chosen: _Chosen, part: int) -> ScoreSums:
        if not self._has_loose(chosen):
            return self.table.sums(chosen.at, part)
        self._observe([chosen])
        return self._sums[self.decision(chosen)][part]

    def _over(self, chosen: _Chosen, parts: Sequence[int]) -> MeanScore:
        return self._mean([self._score(chosen, part) for part in parts])

    def _mean(self, sums: Sequence[ScoreSums]) -> MeanScore:
        return sum(sums, ScoreSums()).score(self.table.metric)

    def _setting(self, chosen: _Chosen, name: str) -> Any:
        return self.axes[name].values[self._index(chosen, name)]

    def _index(self, chosen: _Chosen, name: str) -> int:
        indices = {axis.name: i for axis, i in zip(self.table.axes, chosen.at)} | dict(chosen.steps)
        return indices.get(name, self.axes[name].rest)

    def _edges(self, chosen: _Chosen) -> Iterator[str]:
        """What lies at an end of its axis."""
        for name, axis in self.axes.items():
            ends = (axis.open[0], axis.open[-1]) if name == THRESHOLD else axis.open[-1:]
            if axis.open_ended and not axis.fixed and self._index(chosen, name) in ends:
                yield name


def _simplest_first(axes: Sequence[Axis]) -> npt.NDArray[np.int64]:
    """Place of each combination in the order of preference among equals.

    Few steps come first, then a threshold near 0.5, then a small smallest component, then weak settings.
    """
    shape = tuple(len(axis.values) for axis in axes)
    cells = int(np.prod(shape))
    grid = np.indices(shape)
    indices = {axis.name: index.ravel() for axis, index in zip(axes, grid)}
    steps = [name for name in indices if name not in (THRESHOLD, SWEPT)]
    count = sum((indices[name] > 0 for name in steps), np.zeros(cells, int))
    keys = [count, *(indices[name] for name in steps)]
    for thresholds in (np.asarray(axis.values, float) for axis in axes if axis.name == THRESHOLD):
        distance = np.abs(thresholds - 0.5).round(9)[indices[THRESHOLD]]
        keys = [count, distance, indices[SWEPT], *keys[1:], indices[THRESHOLD]]
    order = np.empty(cells, np.int64)
    order[np.lexsort(keys[::-1])] = np.arange(cells)
    return order.reshape(shape)
