"""Intervals of the expected scores hold what random splits of out-of-fold scores give; the offset is Huber's."""

import numpy as np
import pytest

from segfold.metrics import METRICS, Metric
from segfold.statistics.expected import expected_scores
from segfold.statistics.offset import Offset, fit_offset

SPLITS = 1000
OOF, PUBLIC, PRIVATE = 400, 250, 500
SHARE = PUBLIC / (PUBLIC + PRIVATE)


def out_of_fold(name: str) -> tuple[Metric, np.ndarray]:
    """Features of many images: many perfect scores and many of nothing; of classes, one that is rare."""
    rng, metric, images = np.random.default_rng(5), METRICS[name](), OOF + PUBLIC + PRIVATE
    if metric.size(3) == 1:
        scores = np.where(rng.random(images) < 0.4, rng.random(images) < 0.9, rng.beta(3, 1, images))
        return metric, np.round(scores, 1)[:, None]
    union = rng.gamma(1, 300, (images, 3)).round() * (rng.random((images, 3)) < [1, 0.6, 0.15])
    return metric, np.hstack([np.round(union * rng.beta(4, 2, union.shape)), union])


@pytest.mark.parametrize("name", ["precision", "miou"])
def test_intervals_hold_the_scores_of_random_splits(name: str) -> None:
    metric, features = out_of_fold(name)
    rng = np.random.default_rng(6)
    held = {"public": 0, "private": 0, "whole": 0}
    for seed in range(SPLITS):
        order = rng.permutation(len(features))
        known, public, private = np.split(features[order], [OOF, OOF + PUBLIC])
        found = expected_scores(known, metric, PUBLIC + PRIVATE, SHARE, draws=400, seed=seed)
        assert found.public is not None and found.private is not None
        assert (found.public.images, found.private.images, found.whole.images) == (PUBLIC, PRIVATE, PUBLIC + PRIVATE)
        whole = np.concatenate([public, private])
        for part, test in (("public", public), ("private", private), ("whole", whole)):
            interval = getattr(found, part)
            held[part] += interval.low <= metric.value(test.sum(0), len(test)) <= interval.high
    assert all(0.93 <= count / SPLITS <= 0.97 for count in held.values()), held


def test_width_is_that_of_both_samples_and_the_centre_is_the_known_score() -> None:
    rng, metric = np.random.default_rng(7), METRICS["dice"]()
    features = rng.normal(0.6, 0.05, (400, 1))
    found = expected_scores(features, metric, 1000, 0.3, draws=4000)
    for part, images in ((found.public, 300), (found.private, 700), (found.whole, 1000)):
        assert part is not None and part.images == images
        error = features.std() * np.sqrt(1 / 400 + 1 / images)
        assert part.expected == pytest.approx(features.mean())
        assert (part.low, part.high) == pytest.approx(
            (part.expected - 1.96 * error, part.expected + 1.96 * error), abs=error / 8
        )
        assert part.chance(part.expected + error) == pytest.approx(0.159, abs=0.03)
        assert part.chance(0) == 1 and part.chance(1) == 0
    honest = expected_scores(features, metric, 1000, 0.3, cv=0.55, draws=400)
    assert honest.whole.expected == 0.55 and honest.whole.low < 0.55 < honest.whole.high < 0.6
    narrow = expected_scores(features, metric, 1000, 0.3, level=0.5, draws=4000).whole
    assert (narrow.high - narrow.low) / (found.whole.high - found.whole.low) == pytest.approx(0.674 / 1.96, rel=0.1)


def test_share_that_is_unknown_or_all() -> None:
    metric, features = out_of_fold("precision")
    unknown = expected_scores(features, metric, 100, None, draws=50)
    assert unknown.public is None and unknown.private is None and unknown.whole.images == 100
    every = expected_scores(features, metric, 100, 1.0, draws=50)
    assert every.private is None and every.public is not None and every.public.images == 100
    with pytest.raises(ValueError, match="expected some of both"):
        expected_scores(features[:0], metric, 100, 0.3)


def test_groups_widen_the_interval() -> None:
    rng, metric = np.random.default_rng(8), METRICS["dice"]()
    features = np.repeat(rng.normal(0.6, 0.05, (100, 1)), 9, axis=0)
    groups = np.repeat([f"patient {number}" for number in range(100)], 9)
    alone, together = (expected_scores(features, metric, 900, 0.3, draws=1000, groups=each) for each in (None, groups))
    assert (together.whole.high - together.whole.low) / (alone.whole.high - alone.whole.low) == pytest.approx(
        3, rel=0.15
    )


def test_offset_moves_and_widens_what_is_expected() -> None:
    rng, metric = np.random.default_rng(9), METRICS["dice"]()
    features = rng.normal(0.6, 0.05, (400, 1))
    plain = expected_scores(features, metric, 1000, 0.3, draws=4000)
    moved = expected_scores(features, metric, 1000, 0.3, Offset(0.02, 0.003, 0.004, 30), draws=4000)
    assert moved.public is not None and plain.public is not None and plain.private is not None
    assert moved.public.expected == pytest.approx(plain.public.expected + 0.02)
    width, known = moved.public.high - moved.public.low, plain.public.high - plain.public.low
    assert width == pytest.approx(np.hypot(known, 2 * stats_t(29) * 0.005), rel=0.06)
    assert moved.private is not None and moved.private.expected == plain.private.expected  # its own is unknown
    few = expected_scores(features, metric, 1000, 0.3, Offset(0.02, 0.003, 0.004, 3), draws=4000).public
    assert few is not None and few.high - few.low > 1.3 * width  # three submissions know their spread badly
    high = expected_scores(features, metric, 1000, 0.3, Offset(0.9, 0.003, 0.004, 30), draws=100).public
    assert high is not None and high.expected == high.high == 1


def stats_t(freedom: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, freedom))


def test_offset_is_that_of_r() -> None:
    """``hubers(chem)`` of R's MASS (Venables and Ripley, Modern applied statistics with S, 5.5): 3.205498, 0.6736520."""
    chem = [2.9, 3.1, 3.4, 3.4, 3.7, 3.7, 2.8, 2.5, 2.4, 2.4, 2.7, 2.2]
    chem += [5.28, 3.37, 3.03, 3.03, 28.95, 3.77, 3.4, 2.2, 3.5, 3.6, 3.7, 3.7]
    found = fit_offset([10.0] * 24, [value + 10 for value in chem])
    assert found is not None and found.submissions == 24
    assert (found.mean, found.spread) == pytest.approx((3.205498, 0.6736520), rel=1e-5)


def test_offset_is_unknown_below_three_submissions_and_robust_above() -> None:
    assert fit_offset([], []) is None and fit_offset([0.8, 0.81], [0.81, 0.82]) is None
    alike = fit_offset([0.8, 0.81, 0.82], [0.81, 0.82, 0.83])
    assert alike is not None and (alike.mean, alike.spread) == pytest.approx((0.01, 0), abs=1e-9)
    rng = np.random.default_rng(10)
    cv = rng.normal(0.8, 0.02, 12)
    lb = cv + rng.normal(0.015, 0.003, 12)
    clean = fit_offset(cv, lb)
    lb[3] = 0.1  # a broken submission
    broken = fit_offset(cv, lb)
    assert clean is not None and broken is not None
    assert clean.mean == pytest.approx(0.015, abs=3 * clean.standard_error)
    assert abs(broken.mean - clean.mean) < 2 * clean.standard_error and broken.spread < 3 * clean.spread


def test_error_of_the_offset_is_the_spread_of_refitted_ones() -> None:
    rng = np.random.default_rng(11)
    found = [fit_offset(np.zeros(15), rng.normal(0.01, 0.004, 15)) for _ in range(400)]
    means, errors = ([getattr(each, name) for each in found] for name in ("mean", "standard_error"))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)
    assert np.mean(means) == pytest.approx(0.01, abs=3 * 0.004 / np.sqrt(15 * 400))
