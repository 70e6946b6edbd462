"""The paired bootstrap is scipy's, for means over images and for ratios of sums, and it knows which images go together."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import stats

from segfold.metrics import METRICS, Metric, ScoreSums
from segfold.statistics.bootstrap import paired, resampled

DRAWS = 4000


def made(name: str, images: int = 120, seed: int = 0) -> tuple[Metric, np.ndarray, np.ndarray]:
    """A metric, and the features of two systems of which the second is a little better."""
    rng, metric = np.random.default_rng(seed), METRICS[name]()
    if metric.size(3) == 1:
        a = rng.integers(0, 11, (images, 1)) / 10
        return metric, a, (a + 0.1 * rng.integers(-1, 3, a.shape) * (rng.random(a.shape) < 0.2)).clip(0, 1)
    union = rng.integers(20, 400, (images, 3)) * (rng.random((images, 3)) < [1, 0.8, 0.3])
    hit = rng.beta(6, 3, union.shape)
    better = (hit + rng.normal(0.02, 0.05, hit.shape)).clip(0, 1)
    return metric, *(np.hstack([np.round(union * share), union]).astype(float) for share in (hit, better))


def scipys(metric: Metric, a: np.ndarray, b: np.ndarray) -> Any:
    columns = [*a.T, *b.T]

    def difference(*drawn: np.ndarray, axis: int) -> np.ndarray:
        sums = np.stack([each.sum(axis=axis) for each in drawn], axis=-1)
        half, count = sums.shape[-1] // 2, drawn[0].shape[axis]
        return metric.value(sums[..., half:], count) - metric.value(sums[..., :half], count)

    options: dict[str, Any] = {"n_resamples": DRAWS, "method": "percentile", "batch": 500, "rng": 1}
    return stats.bootstrap(columns, difference, paired=True, vectorized=True, axis=-1, **options)


@pytest.mark.parametrize("name", ["precision", "miou"])
def test_agrees_with_scipy(name: str) -> None:
    metric, a, b = made(name)
    found, expected = paired(a, b, metric, DRAWS), scipys(metric, a, b)
    # Both are drawn: 4000 draws know a standard error to about 1 %, an end of an interval to a twentieth of it.
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0.06)
    ends = expected.confidence_interval
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=expected.standard_error / 6)
    drawn = expected.bootstrap_distribution
    assert found.probability == pytest.approx((drawn > 1e-12).mean() + (abs(drawn) <= 1e-12).mean() / 2, abs=0.02)
    assert found.difference == pytest.approx(metric.value(b.sum(0), len(b)) - metric.value(a.sum(0), len(a)))
    assert found.images == 120
    for score, features in ((found.a, a), (found.b, b)):
        known = ScoreSums.of(features).score(metric)
        assert (score.mean, score.images) == (pytest.approx(known.mean), 120)
        assert score.standard_error == pytest.approx(known.standard_error, rel=0.06)


def test_pairs_cancel_what_makes_an_image_hard_for_both() -> None:
    rng, metric = np.random.default_rng(1), METRICS["precision"]()
    a = rng.random((200, 1))
    found = paired(a, a + 0.01, metric, 500)
    assert found.difference == pytest.approx(0.01) and found.standard_error < 1e-12 and found.probability == 1
    other = paired(a, rng.permutation(a) + 0.01, metric, 500)
    assert other.standard_error == pytest.approx(np.sqrt(2) * float(found.a.standard_error or 0), rel=0.2)


def test_a_system_is_as_good_as_itself_and_worse_turned_round() -> None:
    metric, a, b = made("miou")
    same = paired(a, a * 3, metric, 300)  # the same ratios, but for rounding
    assert abs(same.difference) < 1e-12 and same.probability == 0.5
    one, other = paired(a, b, metric, 300), paired(b, a, metric, 300)
    assert one.difference == -other.difference and one.probability == pytest.approx(1 - other.probability)
    assert paired(a, b, metric, 300) == one
    assert paired(a, b, metric, 300, seed=1) != one


def test_one_image_and_none() -> None:
    metric, a, b = made("precision", images=1)
    assert paired(a, b, metric, 20).a.standard_error is None
    with pytest.raises(ValueError, match="same images"):
        paired(a, b[:0], metric)
    with pytest.raises(ValueError, match="same images"):
        paired(a[:0], b[:0], metric)


@pytest.mark.parametrize("few", [True, False])
def test_what_is_drawn_has_the_moments_of_draws(few: bool) -> None:
    """With few different rows and with many; of another size than there are images."""
    rng = np.random.default_rng(2)
    features = rng.integers(0, 3, (300, 1)) / 2 if few else rng.random((300, 5))
    sums, counts = resampled(features, 700, 3000, rng)
    assert sums.shape == (3000, features.shape[1]) and (counts == 700).all()
    assert sums.mean(0) == pytest.approx(700 * features.mean(0), abs=4 * np.sqrt(700) / np.sqrt(3000))
    spread = np.sqrt(700) * features.std(0)
    assert sums.std(0) == pytest.approx(spread, rel=0.06)


@pytest.mark.parametrize("name", ["precision", "miou"])
def test_copies_in_a_group_tell_no_more_than_one_of_them(name: str) -> None:
    metric, a, b = made(name, images=60)
    groups = np.repeat([f"g{number}" for number in range(60)], 4)
    alone = paired(a, b, metric, 2000)
    grouped = paired(np.repeat(a, 4, 0), np.repeat(b, 4, 0), metric, 2000, groups=groups)
    assert grouped.difference == pytest.approx(alone.difference) and grouped.images == 240
    assert grouped.standard_error == pytest.approx(alone.standard_error, rel=0.08)
    assert paired(a, b, metric, 500, groups=np.full(60, "")) == paired(a, b, metric, 500)  # each by itself


def test_memory_does_not_follow_the_draws_or_the_images() -> None:
    features = np.random.default_rng(3).random((100_000, 42))
    tracemalloc.start()
    try:
        sums, _ = resampled(features, 100_000, 60, np.random.default_rng(4))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sums.shape == (60, 42)
    assert peak < features.nbytes + 50e6
