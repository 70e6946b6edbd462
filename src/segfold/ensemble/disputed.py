"""Scores of many weights of the same members, from the pixels alone that these members decide differently.

A weighted mean of values on one side of a threshold stays on that side, so a pixel that every member alone decides in one
way is decided so by every blend of them. Such pixels are counted once; weights only move the others, some per cent of all.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.ensemble.blend import proportions
from segfold.ensemble.combine import MEAN, Combination
from segfold.ensemble.disputed_kernels import count_classes, count_planes
from segfold.ensemble.disputed_masks import image_features
from segfold.ensemble.disputed_pixels import Numbers, Pixels, collect
from segfold.ensemble.evidence import Floats, Images, rounded
from segfold.ensemble.stored import OofMember
from segfold.metrics import CountMetric, Counts
from segfold.store.codes import HALF

MOST_BYTES = 1 << 29
"""Of disputed codes held in memory; more go to a temporary file."""
_DIGITS = 10
_CELLS = 1 << 17  # counts that are made and scored at once by a thread
_IMAGES = 64  # the same of images, so that every thread gets some


@dataclass(frozen=True, eq=False)
class Disputed:
    """Members' out-of-fold predictions as far as weights change what becomes of them, at fixed thresholds.

    Attributes:
        names: (M,) of the members.
        ids: (N,) images.
        part: (N,) part of the nested estimate that each belongs to.
        images: what the predictions are held to.
        combination: what is averaged.
        thresholds: (C,) codes; unused of exclusive classes.
        pixels: that are disputed.
    """

    names: Sequence[str]
    ids: Sequence[str]
    part: npt.NDArray[np.int64]
    images: Images
    combination: Combination
    thresholds: Sequence[int]
    pixels: Pixels

    @classmethod
    def of(
        cls,
        members: Sequence[OofMember],
        ids: Sequence[str],
        images: Images,
        combination: Combination = MEAN,
        thresholds: Sequence[int] | None = None,
        most: int = MOST_BYTES,
    ) -> "Disputed":
        """Reads all that the members have predicted, once.

        Args:
            members: at least one.
            ids: what all of them predict.
            images: what they are held to; its pass over a blend is not used.
            thresholds: code of each class from which a pixel has it; None for one half. Exclusive classes have none.
            most: bytes of disputed codes that are held in memory; where there are more, they go to a temporary file.

        Raises:
            SegfoldError: a prediction of another size than its mask, no room for the temporary file.
        """
        codes = [HALF] * len(images.task.classes) if thresholds is None else list(thresholds)
        pixels = collect(members, ids, images, combination, codes, most)
        part = np.array([images.part[name] for name in ids], np.int64)
        return cls([each.name for each in members], list(ids), part, images, combination, codes, pixels)

    def rows_of(self, parts: Sequence[int]) -> Numbers:
        """Images that belong to some parts, in their order."""
        return np.flatnonzero(np.isin(self.part, parts))

    @property
    def share(self) -> float:
        """How many of the pixels that count, of each class where classes are by themselves, are disputed, 0…1."""
        return float(self.pixels.starts[-1] / max(self.pixels.counted.sum() * self.pixels.groups, 1))

    @property
    def in_file(self) -> bool:
        """Whether the disputed codes lie in a temporary file."""
        return isinstance(self.pixels.codes, np.memmap)

    def features(self, weights: Sequence[float], rows: Numbers | None = None) -> Floats:
        """The (n, K) features of each image under a blend, bit for bit those of ``blend`` and ``image_features``.

        Args:
            weights: (M,) in any scale.
            rows: (n,) images; None for all.

        Raises:
            SegfoldError: a weight that is negative or no number, or none above 0.
        """
        return rounded(self._features(weights, rows))

    def score(self, weights: Sequence[float], rows: Numbers | None = None) -> float:
        """The metric's value for a blend, to ten digits: equal scores are equal, however they were added up."""
        features = self._features(weights, rows)
        return float(np.round(self.images.metric.value(features.sum(axis=0), len(features)), _DIGITS))

    def exchanged(
        self,
        weights: Sequence[int],
        giver: int | None,
        takers: Sequence[int],
        steps: Sequence[int],
        rows: Numbers | None = None,
    ) -> Floats:
        """Scores of blends that differ from one in that a member gives some of its weight to another, in one pass.

        Args:
            weights: (M,) integers of 0 or more.
            giver: member that gives; None for nobody, so that weight is added, one step alone.
            takers: (J,) members that may get it.
            steps: (S,) how much, rising, at most what the giver has.
            rows: images to score; None for all.

        Returns:
            (J, S) as ``score`` has them.
        """
        count = len(self.ids) if rows is None else len(rows)
        total = np.zeros((len(takers), len(steps), self._size))
        at, to, by = (np.array(each, np.int64) for each in (weights, takers, steps))
        moves = _Moves(at, -1 if giver is None else giver, to, by)
        by_number = self.combination.name == "product" and not self.images.task.exclusive
        for some in moves.alike() if by_number else [np.ix_(range(len(to)), range(len(by)))]:
            for found in self._each(moves.only(*some), rows):
                total[some] += found.sum(axis=0)
        return np.round(self.images.metric.value(total, count), _DIGITS)

    @property
    def _size(self) -> int:
        return self.images.metric.size(len(self.images.task.classes))

    def _features(self, weights: Sequence[float], rows: Numbers | None) -> Floats:
        """(n, K) that are not rounded yet."""
        whole = np.array(proportions(weights, [1] * len(self.names), self.combination.finest), np.int64)
        moves = _Moves(whole, -1, np.zeros(1, np.int64), np.zeros(1, np.int64))
        found = [each[:, 0, 0] for each in self._each(moves, rows)]
        return np.concatenate(found) if found else np.zeros((0, self._size))

    def _each(self, moves: "_Moves", rows: Numbers | None) -> Iterator[Floats]:
        """n × J × S × K features, some images after the others; threads share the work."""
        rows = np.arange(len(self.ids)) if rows is None else np.asarray(rows, np.int64)
        of = self._counted if isinstance(self.images.metric, CountMetric) else self._seen
        cells = max(moves.takers.size * moves.steps.size * len(self.images.task.classes), 1)
        step = max(1, min(_CELLS // cells, _IMAGES))
        pieces = [rows[first : first + step] for first in range(0, len(rows), step)]
        bounds = self.bounds(moves.whole, moves.members)

        def work(piece: Numbers) -> Floats:
            return of(piece, moves, bounds)

        threads = min(cores(), len(pieces))
        if threads <= 1:
            yield from map(work, pieces)
            return
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, pieces)

    def bounds(self, whole: int, members: int = 1) -> Numbers:
        """Smallest totals that are foreground, of each class; of exclusive classes those of each code."""
        if self.images.task.exclusive:
            return self.combination.bounds(whole, members)
        return np.array([self.combination.bound(code, whole, members) for code in self.thresholds], np.int64)

    def _counted(self, rows: Numbers, moves: "_Moves", bounds: Numbers) -> Floats:
        """n × J × S × K features of a metric that counts pixels."""
        metric, classes, pixels = self.images.metric, len(self.images.task.classes), self.pixels
        assert isinstance(metric, CountMetric)
        found = np.zeros((len(rows), moves.takers.size, moves.steps.size, classes, 2), np.int64)
        kept = pixels.codes, pixels.starts, pixels.truth, pixels.tables, rows
        if self.images.task.exclusive:
            count_classes(*kept, *moves, bounds, pixels.far * moves.whole, found)
        else:
            count_planes(*kept, *moves, bounds, found)
        inter, predicted, true = np.moveaxis(pixels.counts[rows], 1, 0)[:, :, None, None]
        inter, predicted = inter + found[..., 0], predicted + found[..., 1]
        return metric.of(Counts(inter, predicted + true - inter, predicted, np.broadcast_to(true, inter.shape)))

    def _seen(self, rows: Numbers, moves: "_Moves", bounds: Numbers) -> Floats:
        """The same of a metric that must see the mask."""
        trials = moves.trials()
        found = [image_features(self.pixels, self.images, row, self.ids[row], trials, bounds) for row in rows]
        return np.array(found).reshape(len(rows), moves.takers.size, moves.steps.size, self._size)


class _Moves(NamedTuple):
    """Weights, and what they may change to: from a giver, or -1 for nobody, to each of J takers go each of S steps."""

    weights: Numbers
    giver: int
    takers: Numbers
    steps: Numbers

    @property
    def whole(self) -> int:
        """What the weights add up to afterwards."""
        return int(self.weights.sum() + (self.steps[0] if self.giver < 0 else 0))

    @property
    def members(self) -> int:
        """How many weigh anything after the first of the moves."""
        return int(np.count_nonzero(self.trials()[0]))

    def alike(self) -> Iterator[tuple[Numbers, Numbers]]:
        """J' × 1 and 1 × S' places of takers and steps, of 1 or more, after which equally many members weigh anything."""
        new = self.weights[self.takers] == 0
        whole = self.steps == (self.weights[self.giver] if self.giver >= 0 else -1)
        for takers in (new, ~new):
            for steps in (whole, ~whole):
                if takers.any() and steps.any():
                    yield np.ix_(takers, steps)

    def only(self, takers: Numbers, steps: Numbers) -> "_Moves":
        """Those at some places, as ``alike`` gives them."""
        return self._replace(takers=self.takers[takers[:, 0]], steps=self.steps[steps[0]])

    def trials(self) -> list[Numbers]:
        """(M,) weights for every taker and step."""
        found = []
        for taker in self.takers:
            for step in self.steps:
                trial = self.weights.copy()
                trial[taker] += step
                if self.giver >= 0:
                    trial[self.giver] -= step
                found.append(trial)
        return found
