"""Which members, in what proportion: the best run alone, all alike, selected greedily, or weights searched on the simplex.

Each way is made on all images, and once more without each part of them, so that its nested estimate is of weights and
decisions that never saw what they score. A blend takes the place of the best run only where the gain of its nested masks
stands out from its error: a weak member that cannot be told to help stays out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segfold.ensemble.blend import proportions
from segfold.ensemble.choice import Chooser
from segfold.ensemble.disputed import Disputed
from segfold.ensemble.evidence import Floats, Images, part_features
from segfold.ensemble.greedy import greedy
from segfold.ensemble.simplex import simplex
from segfold.errors import SegfoldError
from segfold.metrics import MeanScore, ScoreSums
from segfold.observer import SILENT, Observer
from segfold.statistics.bootstrap import Paired, paired

Weights = tuple[float, ...]
"""One a member: whole numbers without a common divisor."""

SINGLE, EQUAL, GREEDY, SIMPLEX = "single", "equal", "greedy", "simplex"
METHODS = {
    SINGLE: "the best run alone",
    EQUAL: "all runs alike",
    GREEDY: "forward selection with replacement, bagged",
    SIMPLEX: "pattern search on the simplex",
}
STEPS, BAGS, RESTARTS = 20, 5, 4
TOLD = 0.5
"""Standard errors by which a blend must gain on the best run alone: it is better then in seven cases of ten."""
FEW = 6
"""Members up to which a bag, a random half of them, would leave out too much to choose from."""
MANY = 8
"""Members beyond which the simplex, whose search grows with their square, keeps to those that greedy selection takes most."""


@dataclass(frozen=True)
class Costs:
    """What predicting the test set takes.

    Attributes:
        seconds: of each member; None where it was not measured.
        budget: seconds that all of an ensemble may take; None for no bound.
    """

    seconds: Sequence[float | None]
    budget: float | None = None

    def of(self, weights: Sequence[float]) -> float | None:
        """Seconds of the members that have a weight; None where one was not measured."""
        used = [seconds for seconds, weight in zip(self.seconds, weights) if weight]
        return None if None in used else float(sum(seconds or 0.0 for seconds in used))

    def fits(self, weights: Sequence[float]) -> bool:
        """Whether they may be taken."""
        if self.budget is None:
            return True
        taken = self.of(weights)
        return taken is not None and taken <= self.budget


@dataclass(frozen=True)
class Strategy:
    """A way to weigh the members, and what its blend scores out of fold.

    Attributes:
        name: of ``METHODS``.
        weights: made on all images.
        by_part: made without each part; empty where nothing is nested.
        plain: score at a threshold of one half.
        tuned: with the threshold, the smallest component and, where there are image heads, the gate chosen on the images
            that they are scored on, which flatters.
        nested: weights and choice made on the other parts, scored on each part.
        gain: of the nested masks over those of the best run alone; None of that one.
        seconds: that predicting the test set takes; None where a member was not measured.
    """

    name: str
    weights: Weights
    by_part: Mapping[int, Weights]
    plain: MeanScore
    tuned: MeanScore
    nested: MeanScore | None
    gain: Paired | None
    seconds: float | None

    @property
    def steady(self) -> bool:
        """Whether the weights are the same without any part."""
        return set(self.by_part.values()) <= {self.weights}


class Weighing:
    """The weights that each way gives the members, on any parts of the images."""

    def __init__(self, disputed: Disputed, costs: Costs, seed: int = 0) -> None:
        """
        Args:
            disputed: what the members have predicted.
        """
        self.disputed, self.costs, self.seed = disputed, costs, seed
        self.members = len(costs.seconds)
        self._known: dict[tuple[str, tuple[int, ...]], Weights | None] = {}

    def fit(self, name: str, parts: Sequence[int]) -> Weights | None:
        """Weights by a way, made on some parts; None where no ensemble of that kind fits the budget."""
        key = name, tuple(parts)
        if key not in self._known:
            found = _WAYS[name](self, self.disputed.rows_of(parts))
            self._known[key] = None if found is None else _shortest(found)
        return self._known[key]

    def affordable(self) -> list[int]:
        """Members that fit the budget alone."""
        return [member for member in range(self.members) if self.costs.fits(self.alone(member))]

    def alone(self, member: int) -> list[float]:
        """The weights of one member and no other."""
        return [float(other == member) for other in range(self.members)]

    def _single(self, rows: npt.NDArray[np.int64]) -> Sequence[float] | None:
        scored = [(self.disputed.score(self.alone(member), rows), -member) for member in self.affordable()]
        return self.alone(-max(scored)[1]) if scored else None

    def _equal(self, rows: npt.NDArray[np.int64]) -> Sequence[float] | None:
        weights = [1.0] * self.members
        return weights if self.costs.fits(weights) else None

    def _greedy(self, rows: npt.NDArray[np.int64]) -> Sequence[float] | None:
        if not self.affordable():
            return None
        bound = self.costs.budget is not None
        seconds = [np.inf if each is None else each for each in self.costs.seconds] if bound else None
        bags = BAGS if self.members > FEW else 1
        return greedy(self.disputed, rows, STEPS, bags, self.seed, seconds, self.costs.budget)

    def _simplex(self, rows: npt.NDArray[np.int64]) -> Sequence[float] | None:
        among = None
        if self.costs.budget is not None or self.members > MANY:
            chosen = self._greedy(rows)
            if chosen is None:
                return None
            ordered = sorted(range(self.members), key=lambda member: -chosen[member])
            among = [member for member in ordered[:MANY] if chosen[member]]
        return simplex(self.disputed, rows, RESTARTS, self.seed, among)


_WAYS: dict[str, Callable[[Weighing, npt.NDArray[np.int64]], Sequence[float] | None]] = {
    SINGLE: Weighing._single,
    EQUAL: Weighing._equal,
    GREEDY: Weighing._greedy,
    SIMPLEX: Weighing._simplex,
}


def _shortest(weights: Sequence[float]) -> Weights:
    """The same proportions in small whole numbers, so that they count exactly."""
    return tuple(map(float, proportions(weights, [1] * len(weights))))


@dataclass(frozen=True)
class Judge:
    """Scores ways to weigh the members.

    Attributes:
        images: the blend by some weights.
        chooser: what may be chosen for the blend by some weights, of the few things that are chosen for each.
        weighing: see ``Weighing``.
        parts: numbers of the parts; none where nothing is nested.
    """

    images: Callable[[Weights], Images]
    chooser: Callable[[Weights], Chooser]
    weighing: Weighing
    parts: Sequence[int]

    def strategies(self, names: Sequence[str], observer: Observer = SILENT) -> list[Strategy]:
        """What each of some ways gives, in their order, without those that the budget leaves nothing of.

        Args:
            names: of ``METHODS``; gains are over the first of them.

        Raises:
            SegfoldError: no ensemble fits the budget.
        """
        everything = sorted(set(self.weighing.disputed.part.tolist()))
        found: list[Strategy] = []
        reference: Floats | None = None
        for name in names:
            observer.note(f"weighing the runs: {METHODS[name]}")
            weights = self.weighing.fit(name, everything)
            by_part = {
                part: self.weighing.fit(name, [other for other in everything if other != part]) for part in self.parts
            }
            if weights is None or None in by_part.values():
                continue
            kept = {part: each for part, each in by_part.items() if each is not None}
            nested = self.nested_features(kept)
            gain = None
            if nested is not None:
                if reference is None:
                    reference = nested
                else:
                    gain = paired(reference, nested, self.weighing.disputed.images.metric)
            found.append(self._strategy(name, weights, kept, nested, gain))
        if not found:
            raise self._nothing_fits()
        return found

    def alone(self, member: int, name: str) -> Strategy:
        """What one run scores alone."""
        weights = _shortest(self.weighing.alone(member))
        by_part = dict.fromkeys(self.parts, weights)
        return self._strategy(name, weights, by_part, self.nested_features(by_part), None)

    def _strategy(
        self, name: str, weights: Weights, by_part: Mapping[int, Weights], nested: Floats | None, gain: Paired | None
    ) -> Strategy:
        metric = self.weighing.disputed.images.metric
        plain, tuned = self.chooser(weights).scores(sorted(set(self.weighing.disputed.part.tolist())))
        score = None if nested is None else ScoreSums.of(nested).score(metric)
        return Strategy(name, weights, by_part, plain, tuned, score, gain, self.weighing.costs.of(weights))

    def nested_features(
        self, by_part: Mapping[int, Weights], chooser: Callable[[Weights], Chooser] | None = None
    ) -> Floats | None:
        """(N, K) features of masks that weights and decisions made which never saw them; None without parts."""
        if not by_part:
            return None
        choosers = chooser or self.chooser
        decided = {
            part: choosers(weights).fit([other for other in by_part if other != part])
            for part, weights in by_part.items()
        }
        disputed = self.weighing.disputed
        found = np.zeros((len(disputed.ids), disputed.images.metric.size(len(disputed.images.task.classes))))
        for weights in dict.fromkeys(by_part.values()):
            of_these = {part: decided[part] for part, each in by_part.items() if each == weights}
            found[np.isin(self.weighing.disputed.part, list(of_these))] = part_features(self.images(weights), of_these)
        return found

    def _nothing_fits(self) -> SegfoldError:
        costs = self.weighing.costs
        measured = [seconds for seconds in costs.seconds if seconds is not None]
        cheapest = f"the fastest takes {min(measured):.0f} s" if measured else "none was measured: predict them anew"
        return SegfoldError(f"--budget {costs.budget:g}: no run predicts the test set in so many seconds; {cheapest}")


def best_of(strategies: Sequence[Strategy]) -> Strategy:
    """The one with the best nested score, where its gain over the best run alone is told from none; else that run.

    Without nested scores the first that stays out of a choice: all runs alike, where that is among them.
    """
    if any(each.nested is None for each in strategies):
        return next((each for each in strategies if each.name == EQUAL), strategies[0])
    told = [each for each in strategies if each.gain is None or each.gain.difference > TOLD * each.gain.standard_error]
    return max(told, key=lambda each: each.nested.mean if each.nested is not None else -np.inf)
