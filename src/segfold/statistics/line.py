"""What a leaderboard says of a score out of fold: a straight line through the submissions that have both.

Of a few dozen submissions one or two are often broken (columns mixed up, runs along rows) and would bend the line for all
others. They are found first, named, and the line is of the rest.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEWEST = 3
"""Different CV scores from which a line is fitted: a line through two says nothing of its error."""

_FEWEST_INSIDE = 4  # beside which a submission may be told to lie apart
_ALIKE = 1e-9  # scores are given with at most six digits
_CHANCE = 0.01  # of a submission like all others to end the search at a step; in all its steps it is about 0.02, by simulation


@dataclass(frozen=True)
class Line:
    """``lb = intercept + slope · cv`` by least squares.

    Attributes:
        spread: standard deviation of a submission about the line, estimated with n - 2 degrees of freedom.
        submissions: n, that it was fitted on: all but the outliers.
        centre: mean CV of these.
        squares: sum of their squared distances from ``centre``.
        level: of the interval.
        outliers: places, among all that were given, of those that lie apart.
    """

    slope: float
    intercept: float
    spread: float
    submissions: int
    centre: float
    squares: float
    level: float
    outliers: tuple[int, ...] = ()

    def middle(self, cv: npt.ArrayLike) -> Floats:
        """The line at CV scores of any shape."""
        return self.intercept + self.slope * np.asarray(cv, np.float64)

    def error(self, cv: npt.ArrayLike) -> Floats:
        """Standard error of one more submission's score: about the line, and of the line itself there."""
        away = np.asarray(cv, np.float64) - self.centre
        return self.spread * np.sqrt(1 + 1 / self.submissions + away**2 / self.squares)

    def distance(self, cv: npt.ArrayLike, lb: npt.ArrayLike) -> Floats:
        """How far submissions that the line was not fitted on lie from it, in standard errors of their prediction.

        Of normal deviations it is Student's t with n - 2 degrees of freedom; of one outlier, its externally studentised
        residual.
        """
        # Digits that a host leaves out are no distance.
        return (np.asarray(lb, np.float64) - self.middle(cv)) / np.maximum(self.error(cv), _ALIKE)

    def interval(self, cv: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Both ends of what ``level`` of further submissions score, by Student's t with n - 2 degrees of freedom."""
        half = _quantile((1 + self.level) / 2, self.submissions - 2) * self.error(cv)
        return self.middle(cv) - half, self.middle(cv) + half


def fit_line(cv: npt.ArrayLike, lb: npt.ArrayLike, level: float = 0.95) -> Line | None:
    """The line through some submissions, those aside that lie apart from all others.

    Args:
        cv: score out of fold of each submission.
        lb: its score on the leaderboard, on the public part or the private one, the same for all.
        level: of the interval, 0…1.

    Returns:
        None of submissions with fewer than ``FEWEST`` different CV scores: unknown.

    Example:
        >>> line = fit_line([0.80, 0.81, 0.82, 0.83], [0.81, 0.83, 0.83, 0.85])
        >>> low, high = line.interval(0.84)
        >>> f"{line.slope:.2f}, {line.middle(0.84):.3f} ({low:.3f} to {high:.3f})"
        '1.20, 0.860 (0.817 to 0.903)'
    """
    x, y = np.asarray(cv, np.float64), np.asarray(lb, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"scores of {x.shape} and {y.shape} submissions: expected as many of each")
    if len(np.unique(x)) < FEWEST:
        return None
    inside = _together(x, y)
    return _line(x[inside], y[inside], level, tuple(np.flatnonzero(~inside).tolist()))


def _together(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    """Which submissions lie on one line, by the forward search: two that are broken alike cannot hide each other.

    It begins with the half that lies nearest to a line which the other half cannot move, and takes in one after the other
    for as long as the next is no further than the worst of so many would be once in a hundred times.

    Reference:
        Hadi and Simonoff, Procedures for the identification of multiple outliers in linear models, 1993.
    """
    count = len(x)
    size = max(_FEWEST_INSIDE, (count + 3) // 2)
    slope, intercept = _median_line(x, y)
    order = np.argsort(np.abs(y - intercept - slope * x), kind="stable")
    while size < count and len(np.unique(x[order[:size]])) < FEWEST:
        size += 1
    while size < count:
        line = _line(x[order[:size]], y[order[:size]])
        away = np.abs(line.distance(x, y))
        away[order[:size]] *= _outside_to_inside(line, x[order[:size]])
        order = np.argsort(away, kind="stable")
        if away[order[size]] > _quantile(1 - _CHANCE / 2 / (size + 1), size - 2):
            break
        size += 1
    inside = np.zeros(count, bool)
    inside[order[:size]] = True
    return inside


def _outside_to_inside(line: Line, x: Floats) -> Floats:
    """What makes a standard error of prediction that of the residual of a submission that the line was fitted on."""
    leverage = 1 / line.submissions + (x - line.centre) ** 2 / line.squares
    return np.sqrt((1 + leverage) / np.maximum(1 - leverage, _ALIKE))


def _median_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and intercept by repeated medians, which nearly half of the submissions cannot move. (Siegel, 1982)"""
    slopes = []
    for place in range(len(x)):
        other = x != x[place]
        slopes.append(np.median((y[other] - y[place]) / (x[other] - x[place])))
    slope = float(np.median(slopes))
    return slope, float(np.median(y - slope * x))


def _line(x: Floats, y: Floats, level: float = 0.95, outliers: tuple[int, ...] = ()) -> Line:
    centre, mean = float(x.mean()), float(y.mean())
    squares = float(((x - centre) ** 2).sum())
    slope = float(((x - centre) * (y - mean)).sum()) / squares
    left = y - mean - slope * (x - centre)
    spread = sqrt(float((left**2).sum()) / (len(x) - 2))
    return Line(slope, mean - slope * centre, spread, len(x), centre, squares, level, outliers)


def _quantile(probability: float, degrees: int) -> float:
    """Of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
