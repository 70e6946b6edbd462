"""Weights chosen freely: a pattern search on the simplex, the weights of 0 or more that add up to one."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from segfold.ensemble.disputed import Disputed, Numbers
from segfold.ensemble.greedy import greedy

WHOLE = 100
"""Weights are hundredths."""
PATTERN = (1, 2, 4, 8, 16, 32, 64)
"""How many of them one member may give to another, beside all that it has."""
FINALISTS = 4
_FEW = 5  # members of a random point at most
_DRAWN = 16  # random points that are scored for each that is searched from


class _Point(NamedTuple):
    """Weights in hundredths; the greater, the better. Equal scores: fewer members, then weights that are more alike."""

    score: float
    fewer: int
    alike: int
    weights: tuple[int, ...]


def simplex(
    disputed: Disputed,
    rows: Numbers | None = None,
    restarts: int = 4,
    seed: int = 0,
    among: Sequence[int] | None = None,
) -> list[float]:
    """The best weights that a pattern search from several starts finds.

    A blend's score is piecewise constant in the weights, so no slope leads uphill. The search polls instead: each member in
    turn offers 1, 2, 4, … 64 hundredths, and all of its weight, to each other member, and the best exchange is taken if it
    scores more; it ends where no exchange does. It starts from equal weights, each single member, what ``greedy`` selects,
    and random points of a few members each. Every start is searched from for one round, the four best ones to the end.
    Of equal scores it takes the fewest members, then the weights most alike, so it ends and finds the same again.

    Args:
        rows: images to choose on; None for all.
        restarts: random points that are searched from, the best of 16 times as many; 0 for none.
        seed: of the random points.
        among: members that may weigh anything; None for all.

    Returns:
        (M,) weights in whole hundredths, which count exactly; or ones where the chosen members count alike.

    Reference:
        Hooke and Jeeves, "Direct search" solution of numerical and statistical problems, J. ACM 1961; Kolda, Lewis and
        Torczon, Optimization by direct search, SIAM Review 2003.
    """
    count = len(disputed.names)
    members = list(range(count)) if among is None else sorted(among)
    search = _Search(disputed, rows, members)
    drawn = _distinct(_random(members, count, _DRAWN * restarts, seed))
    random = sorted((search.point(weights) for weights in drawn), reverse=True)[:restarts]
    alone = np.eye(count)[members]
    price = 1 - alone.sum(axis=0)
    selected = greedy(disputed, rows, costs=price.tolist(), budget=0.0)
    fixed = [_rounded(alone.sum(axis=0)), *(_rounded(each) for each in alone), _rounded(selected)]
    starts = [*(search.point(weights) for weights in _distinct(fixed)), *random]
    begun = sorted({search.round(start) for start in starts}, reverse=True)
    best = max(search.climb(point) for point in begun[:FINALISTS])
    return search.simplest(best)


class _Search:
    """Scores and climbs on some images."""

    def __init__(self, disputed: Disputed, rows: Numbers | None, members: Sequence[int]) -> None:
        self.disputed, self.rows, self.members = disputed, rows, members

    def point(self, weights: Sequence[int]) -> _Point:
        return _point(self.disputed.score(weights, self.rows), weights)

    def round(self, point: _Point) -> _Point:
        """Every member has offered of its weight once, in their order."""
        for giver in range(len(point.weights)):
            if point.weights[giver]:
                point = max(point, self._exchange(point, giver))
        return point

    def climb(self, point: _Point) -> _Point:
        """Rounds until none leads on."""
        while (higher := self.round(point)) > point:
            point = higher
        return point

    def _exchange(self, point: _Point, giver: int) -> _Point:
        """The best that comes of one member's offers."""
        has = point.weights[giver]
        steps = [*(step for step in PATTERN if step < has), has]
        takers = [member for member in self.members if member != giver]
        if not takers:
            return point
        scores = self.disputed.exchanged(point.weights, giver, takers, steps, self.rows)
        found = []
        for taker, of_taker in zip(takers, scores.tolist()):
            for step, score in zip(steps, of_taker):
                if score >= point.score:
                    weights = list(point.weights)
                    weights[giver] -= step
                    weights[taker] += step
                    found.append(_point(score, weights))
        return max(found, default=point)

    def simplest(self, point: _Point) -> list[float]:
        """The weights of a point; ones if its members, all counting alike, score no less."""
        alike = [float(weight > 0) for weight in point.weights]
        if self.disputed.score(alike, self.rows) >= point.score:
            return alike
        return [weight / WHOLE for weight in point.weights]


def _point(score: float, weights: Sequence[int]) -> _Point:
    used = sum(weight > 0 for weight in weights)
    return _Point(score, -used, -sum(weight * weight for weight in weights), tuple(weights))


def _rounded(weights: Iterable[float]) -> tuple[int, ...]:
    """Weights in any scale as hundredths that add up: what rounding down leaves goes to the largest rests."""
    shares = np.asarray(list(weights), np.float64)
    shares = shares / shares.sum() * WHOLE
    found = np.floor(shares).astype(np.int64)
    rests = np.argsort(found - shares, kind="stable")
    found[rests[: WHOLE - found.sum()]] += 1
    return tuple(found.tolist())


def _random(members: Sequence[int], size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Points of two members or a few, spread evenly over the simplex of these."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        weights = np.zeros(size)
        used = rng.choice(members, min(len(members), int(rng.integers(2, _FEW + 1))), replace=False)
        weights[used] = rng.dirichlet(np.ones(len(used)))
        found.append(_rounded(weights))
    return found


def _distinct(points: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(points))
