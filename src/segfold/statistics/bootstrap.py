"""Scores of images drawn with replacement: how sure a difference between two systems is. (Efron, Bootstrap methods, 1979)

What is drawn is whole images with their features, which are then summed and scored, so that a ratio of sums is treated as
rightly as a mean. Images of a group (slices of a patient, say) are drawn together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from segfold.metrics import MeanScore, Metric

Floats = npt.NDArray[np.float64]

_BYTES = 1 << 25  # of what is drawn at once
_FEW = 256  # different rows up to which how often each is drawn is cheaper than which image is
_TIE = 1e-12  # scores that differ by less do so by rounding
_NARROW = 4  # numbers a row up to which images are likely to share a row


@dataclass(frozen=True)
class Paired:
    """How much better B is than A on the same images.

    Attributes:
        difference: score of B - score of A.
        standard_error: of the difference, over images.
        low: end of the 95 % interval of the difference.
        high: the other end.
        probability: that B is better: share of the draws in which it is, ties counting half.
        images: how many both have scored.
        a: score of A with its standard error.
        b: score of B with its standard error.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    probability: float
    images: int
    a: MeanScore
    b: MeanScore


def paired(
    a: npt.NDArray[Any],
    b: npt.NDArray[Any],
    metric: Metric,
    draws: int = 10_000,
    seed: int = 0,
    groups: npt.NDArray[Any] | None = None,
) -> Paired:
    """The paired bootstrap: both systems are scored on the same draws, so what makes an image easy for both cancels.

    The interval holds the middle 95 % of the differences that are drawn (the percentile method).

    Args:
        a: (N, K) features of each image as system A predicts it.
        b: the same of system B, row for row.
        groups: see ``resampled``.

    Raises:
        ValueError: features of other shapes, or of no image.

    Example:
        >>> from segfold.metrics import METRICS
        >>> worse, better = np.tile([0.5, 0.6], 50)[:, None], np.tile([0.7, 0.6], 50)[:, None]
        >>> found = paired(worse, better, METRICS["precision"]())
        >>> f"{found.difference:.2f} ± {found.standard_error:.2f}, probability {found.probability:.2f}"
        '0.10 ± 0.01, probability 1.00'
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise ValueError(f"features of {a.shape} and {b.shape}: expected two arrays (N, K) of the same images")
    images, size = a.shape
    sums, counts = resampled(np.concatenate([a, b], axis=1), images, draws, np.random.default_rng(seed), groups)
    drawn_a, drawn_b = metric.value(sums[:, :size], counts), metric.value(sums[:, size:], counts)
    difference = drawn_b - drawn_a
    low, high = np.quantile(difference, (0.025, 0.975))

    def scored(features: Floats, drawn: Floats) -> MeanScore:
        error = None if images == 1 else float(drawn.std(ddof=1))
        return MeanScore(float(metric.value(features.sum(axis=0), images)), error, images)

    score_a, score_b = scored(a, drawn_a), scored(b, drawn_b)
    return Paired(
        difference=score_b.mean - score_a.mean,
        standard_error=float(difference.std(ddof=1)),
        low=float(low),
        high=float(high),
        probability=float(np.mean(difference > _TIE) + np.mean(abs(difference) <= _TIE) / 2),
        images=images,
        a=score_a,
        b=score_b,
    )


def resampled(
    features: npt.NDArray[Any],
    size: int,
    draws: int,
    rng: np.random.Generator,
    groups: npt.NDArray[Any] | None = None,
) -> tuple[Floats, Floats]:
    """Sums of the features of images that are drawn with replacement.

    Memory is that of the features, of what is returned, and some tens of megabytes.

    Args:
        features: (N, K).
        size: images in a draw.
        draws: how many.
        groups: (N,) names; images of a name are drawn together, those of the name "" each by itself. A draw has as many
            groups as make ``size`` images on average. None for images that are all by themselves.

    Returns:
        (draws, K) sums, and (draws,) how many images they are of.
    """
    rows = _units(np.asarray(features, np.float64), groups)
    units = max(1, round(size * len(rows) / len(features)))
    sums = np.empty((draws, rows.shape[1]))
    done = 0
    for part in _few(rows, units, draws, rng) or _many(rows, units, draws, rng):
        sums[done : done + len(part)] = part
        done += len(part)
    return sums[:, :-1], sums[:, -1]


def _units(features: Floats, groups: npt.NDArray[Any] | None) -> Floats:
    """What is drawn: features, and how many images they are of."""
    rows = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    if groups is None:
        return rows
    names, number = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    number = number.reshape(-1)
    alone = (names == "")[number]
    number[alone] = len(names) + np.arange(np.count_nonzero(alone))
    _, number = np.unique(number, return_inverse=True)
    sums = np.zeros((int(number.max()) + 1, rows.shape[1]))
    np.add.at(sums, number.reshape(-1), rows)
    return sums


def _few(rows: Floats, units: int, draws: int, rng: np.random.Generator) -> Iterator[Floats] | None:
    """Sums of draws where few rows differ: how often each is drawn is multinomial. None where many do."""
    if rows.shape[1] > _NARROW:
        return None
    different, times = np.unique(rows, axis=0, return_counts=True)
    if len(different) > _FEW:
        return None
    share = times / times.sum()
    steps = range(0, draws, max(1, _BYTES // (16 * len(different))))
    return (rng.multinomial(units, share, size=min(steps.step, draws - a)) @ different for a in steps)


def _many(rows: Floats, units: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Sums of draws: which rows are drawn, how often each, and a product of matrices."""
    step = min(draws, max(1, _BYTES // (8 * len(rows) + 4 * units)))
    counts = np.empty((step, len(rows)))
    for start in range(0, draws, step):
        part = counts[: min(step, draws - start)]
        drawn = rng.integers(0, len(rows), (len(part), units), np.uint32)
        part[:] = 0
        _count(drawn, part)
        yield part @ rows


@numba.njit(nogil=True, cache=True)
def _count(drawn: np.ndarray, counts: np.ndarray) -> None:
    """Adds to B×N counts how often each of N rows is among B×M numbers of rows."""
    for draw in range(drawn.shape[0]):
        for place in range(drawn.shape[1]):
            counts[draw, drawn[draw, place]] += 1.0
