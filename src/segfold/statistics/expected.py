"""What a test set will say of a system that scored so out of fold.

This is arithmetic, not shift: the test images are taken for images like the out-of-fold ones, drawn from where those were
drawn, and predicted as those were. By how much they are not, only an offset knows (see ``segfold.statistics.offset``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.metrics import Metric
from segfold.statistics.bootstrap import Floats, resampled
from segfold.statistics.offset import Offset


@dataclass(frozen=True, eq=False)
class Interval:
    """A score to be expected on some images.

    Attributes:
        expected: the out-of-fold score, and the offset where it is known.
        low: end of the interval that holds the score with a probability of ``level``.
        high: the other end.
        images: how many are scored.
        level: of the interval.
        draws: (D,) scores that are as likely as each other, in order.
    """

    expected: float
    low: float
    high: float
    images: int
    level: float
    draws: Floats

    def chance(self, score: float) -> float:
        """Probability, in 0…1, of at least this score."""
        return 1 - float(np.searchsorted(self.draws, score)) / len(self.draws)


@dataclass(frozen=True, eq=False)
class Expected:
    """What is to be expected of a submission.

    Attributes:
        whole: score on all test images; without any offset, which is of a part.
        public: score on the public part; None where its share is unknown.
        private: score on the others; None where there are none, or their share is unknown.
    """

    whole: Interval
    public: Interval | None
    private: Interval | None


def expected_scores(
    features: npt.NDArray[Any],
    metric: Metric,
    test_images: int,
    public_share: float | None,
    offset: Offset | None = None,
    private_offset: Offset | None = None,
    cv: float | None = None,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
    groups: npt.NDArray[Any] | None = None,
) -> Expected:
    """Expected scores with their intervals: out-of-fold scores resampled to the size of each part of the test set.

    A test score differs from the out-of-fold score by chance twice: which images were in the training set, and which are
    in the part. Both are drawn from the out-of-fold images, N for the one and as many as the part has for the other, and
    the interval holds the middle of the differences, laid at the out-of-fold score. See the module on what that leaves out.

    Args:
        features: (N, K) of the out-of-fold images.
        test_images: how many the test set has.
        public_share: of the test images, in 0…1; the private part is the rest. None where it is unknown.
        offset: of public scores; None leaves it out. Its error widens the interval.
        private_offset: the same of private scores.
        cv: the out-of-fold score where an honest one is known, such as a nested one; None for the features' own.
        groups: see ``segfold.statistics.bootstrap.resampled``.

    Raises:
        ValueError: no images.
    """
    if not len(features) or test_images < 1:
        raise ValueError(f"{len(features)} out-of-fold and {test_images} test images: expected some of both")
    features = np.asarray(features, np.float64)
    rng = np.random.default_rng(seed)

    def drawn(images: int) -> tuple[Floats, Floats]:
        return resampled(features, images, draws, rng, groups)

    score = float(metric.value(features.sum(axis=0), len(features))) if cv is None else cv
    known = metric.value(*drawn(len(features)))

    def interval(images: int, sums: tuple[Floats, Floats], shift: Offset | None = None) -> Interval:
        scores = score + metric.value(*sums) - known
        if shift is not None:
            scores = scores + shift.drawn(draws, rng)
        scores = np.sort(scores.clip(0, 1))
        # Of D draws and one more, each place in their order is as likely.
        low, high = np.quantile(scores, ((1 - level) / 2, (1 + level) / 2), method="weibull")
        middle = score if shift is None else min(max(score + shift.mean, 0.0), 1.0)
        return Interval(middle, float(low), float(high), images, level, scores)

    if public_share is None:
        return Expected(interval(test_images, drawn(test_images)), None, None)
    first = min(max(round(test_images * public_share), 1), test_images)
    public = drawn(first)
    if first == test_images:
        return Expected(interval(first, public), interval(first, public, offset), None)
    private = drawn(test_images - first)
    both = public[0] + private[0], public[1] + private[1]
    return Expected(
        interval(test_images, both),
        interval(first, public, offset),
        interval(test_images - first, private, private_offset),
    )
