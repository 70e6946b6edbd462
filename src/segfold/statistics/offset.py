"""By how much scores on the leaderboard lie above those out of fold, learnt from submissions that have both.

Out-of-fold predictions see the network of one fold, test predictions the mean of K, and the test set may be of another
kind. No arithmetic on out-of-fold scores knows of either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, exp, pi, sqrt

import numpy as np
import numpy.typing as npt

FEWEST = 3
"""Submissions from which an offset is fitted."""

_BOUND = 1.5  # standard deviations beyond which a submission pulls no harder
_INSIDE = erf(_BOUND / sqrt(2))  # share of normal deviations within the bound
_SQUARES = _INSIDE + _BOUND**2 * (1 - _INSIDE) - 2 * _BOUND * exp(-(_BOUND**2) / 2) / sqrt(2 * pi)
"""Mean square of normal deviations that are cut at the bound."""


@dataclass(frozen=True)
class Offset:
    """How much more the leaderboard says than the out-of-fold score.

    Attributes:
        mean: over submissions, one that lies apart counting less.
        standard_error: of the mean.
        spread: standard deviation of a submission's own offset about the mean.
        submissions: that it was fitted on.
    """

    mean: float
    standard_error: float
    spread: float
    submissions: int

    def drawn(self, draws: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """(draws,) what may become of one more submission: Student's t about the mean with what is known of its spread."""
        error = sqrt(self.spread**2 + self.standard_error**2)
        return self.mean + error * rng.standard_t(self.submissions - 1, draws)

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {self.standard_error:.4f}"


def fit_offset(cv: Sequence[float], lb: Sequence[float]) -> Offset | None:
    """The offset of some submissions, by Huber's proposal 2: mean and spread together, deviations cut at 1.5 spreads.

    Args:
        cv: out-of-fold score of each submission, as it was known before the submission was sent.
        lb: its score on the leaderboard, on the public part or the private one, the same for all.

    Returns:
        None of fewer than ``FEWEST`` submissions: unknown.

    Reference:
        Huber, Robust estimation of a location parameter, 1964; as ``hubers`` of R's MASS has it.
    """
    found = np.asarray(lb, np.float64) - np.asarray(cv, np.float64)
    count = len(found)
    if count < FEWEST:
        return None
    mean, spread = float(np.median(found)), float(found.std(ddof=1))
    for _ in range(1000):
        if spread < 1e-12:  # all alike
            break
        cut = np.clip(found, mean - _BOUND * spread, mean + _BOUND * spread)
        last = mean, spread
        mean = float(cut.mean())
        spread = sqrt(float(((cut - mean) ** 2).sum()) / (count - 1) / _SQUARES)
        if abs(mean - last[0]) + abs(spread - last[1]) < 1e-9 * last[1]:
            break
    # The variance of a mean of cut deviations, Huber 1964.
    return Offset(mean, sqrt(_SQUARES) / _INSIDE * spread / sqrt(count), spread, count)
