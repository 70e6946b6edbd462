"""Scores from sums: they add up over parts, and their standard errors are those of a bootstrap over images."""

import numpy as np
import pytest

from segfold.errors import SegfoldError
from segfold.metrics import METRICS, CountMetric, Counts, MaskMetric, MeanScore, Metric, ScoreSums, Truth, build_metric
from segfold.schema import settings_model
from setting_numbers import Number, numbers

NUMBERS = [(name, number) for name, builder in METRICS.items() for number in numbers(settings_model(name, builder))]
CASES: dict[str, str | dict[str, dict[str, object]]] = {name: name for name in METRICS}
CASES["global_dice-macro"] = {"global_dice": {"macro": True}}
CASES["dice-skip"] = {"dice": {"empty": "skip"}}
CASES |= {
    f"{name}-{number}-{value:g}": {name: number.at(value)} for name, number in NUMBERS for value in number.inside()
}


def features_of(metric: Metric, images: int, seed: int) -> np.ndarray:
    """N×K features of images that differ in size and difficulty; not all have every class."""
    rng = np.random.default_rng(seed)
    if isinstance(metric, CountMetric):
        truth = rng.integers(20, 400, (images, 3)) * np.array([1, 2, 5])
        inter = (truth * rng.beta(5, 2, (images, 3))).astype(np.int64)
        pred = inter + (truth * rng.beta(2, 8, (images, 3))).astype(np.int64)
        there = rng.random((images, 3)) < [0.9, 0.7, 1]
        inter, pred, truth = inter * there, pred * there, truth * there
        return metric.of(Counts(inter, pred + truth - inter, pred, truth))
    if metric.size(1) == 1:
        return rng.beta(5, 2, (images, 1))
    pixels = rng.integers(50, 500, (images, 1))
    return np.hstack([(pixels * rng.beta(5, 2, (images, 1))).astype(np.int64), pixels]).astype(np.float64)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_standard_error_is_the_bootstraps(case: str) -> None:
    metric = build_metric(case)
    features = features_of(metric, 150, seed=1)
    found = ScoreSums.of(features).score(metric)
    draws = np.random.default_rng(2).multinomial(150, np.full(150, 1 / 150), 4000)
    scores = metric.value(draws @ features, 150)
    assert scores.shape == (4000,) and found.images == 150
    # 4000 draws know it to 1 %; the bootstrap divides by n where the error divides by n - 1.
    assert found.standard_error == pytest.approx(scores.std() * np.sqrt(150 / 149), rel=0.05)
    assert found.mean == pytest.approx(scores.mean(), abs=found.standard_error / 5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sums_add_up(case: str) -> None:
    metric = build_metric(case)
    features = features_of(metric, 30, seed=3)
    whole = ScoreSums.of(features).score(metric)
    parts = sum((ScoreSums.of(part) for part in np.split(features, [1, 8, 8, 20])), ScoreSums()).score(metric)
    assert (parts.mean, parts.images) == (pytest.approx(whole.mean, rel=1e-12), 30)
    assert parts.standard_error == pytest.approx(whole.standard_error, rel=1e-9)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_score_depends_on_means_alone(case: str) -> None:
    metric = build_metric(case)
    sums = features_of(metric, 30, seed=4).sum(axis=0)
    assert 0 < metric.value(sums, 30) < 1
    assert metric.value(sums / 30, 1) == pytest.approx(metric.value(sums, 30), rel=1e-12)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradient_is_the_slope(case: str) -> None:
    """By steps of another size than the numeric one's own, and in one direction of all sums at once."""
    metric = build_metric(case)
    sums = features_of(metric, 30, seed=5).sum(axis=0)
    assert metric.gradient(sums, 30).shape == (metric.size(3 if isinstance(metric, CountMetric) else 1),)
    for seed in range(3):
        way = sums * np.random.default_rng(seed).normal(size=sums.shape)
        slope = (metric.value(sums + 1e-4 * way, 30) - metric.value(sums - 1e-4 * way, 30)) / 2e-4
        assert metric.gradient(sums, 30) @ way == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_there_has_a_score_and_a_slope(case: str) -> None:
    metric = build_metric(case)
    nothing = np.zeros(metric.size(3))
    assert np.isfinite(metric.value(nothing, 1)) and np.isfinite(metric.gradient(nothing, 1)).all()
    found = ScoreSums.of(np.zeros((4, metric.size(3)))).score(metric)
    assert found.standard_error == 0


def test_an_absent_class_leaves_the_error_as_it_is() -> None:
    metric = METRICS["miou"]()
    two = features_of(metric, 40, seed=6).reshape(40, 2, 3)[..., :2]
    three = np.concatenate([two, np.zeros((40, 2, 1))], axis=2)
    one, other = (ScoreSums.of(each.reshape(40, -1)).score(metric) for each in (two, three))
    assert other.mean == one.mean and other.standard_error == pytest.approx(one.standard_error, rel=1e-12)


def test_a_mean_over_images_has_numpys_error() -> None:
    scores = np.random.default_rng(7).random((29, 1))
    found = ScoreSums.of(scores).score(METRICS["dice"]())
    assert found.mean == scores.mean()
    assert found.standard_error == pytest.approx(scores.std(ddof=1) / np.sqrt(29), rel=1e-12)
    assert str(found) == f"{found.mean:.4f} ± {found.standard_error:.4f}"


def test_one_image_and_none() -> None:
    alone = ScoreSums.of(np.array([[0.5]])).score(METRICS["iou"]())
    assert alone == MeanScore(0.5, None, 1) and str(alone) == "0.5000"
    with pytest.raises(ValueError, match="no images"):
        ScoreSums().score(METRICS["iou"]())


def test_metrics_are_built_by_name() -> None:
    for name, builder in METRICS.items():
        assert type(build_metric(name)) is type(build_metric({name: None})) is builder
    assert build_metric({"global_dice": {"macro": True}}).size(4) == 8 != build_metric("global_dice").size(4)


@pytest.mark.parametrize(("name", "number"), NUMBERS, ids=str)
def test_numbers_at_and_beyond_their_bounds(name: str, number: Number) -> None:
    assert np.isfinite(number.low) and np.isfinite(number.high), f"{number}: Annotated[…, Ge(…), Le(…)] says it"
    pred, truth = np.random.default_rng(8).random((2, 1, 40, 30)) < 0.5
    counts = Counts(*(np.array([each.sum()]) for each in (pred & truth, pred | truth, pred, truth)))
    for value in number.inside():
        metric = build_metric({name: number.at(value)})
        assert isinstance(metric, CountMetric | MaskMetric)
        found = metric.of(counts) if isinstance(metric, CountMetric) else metric.of(pred, Truth(truth))
        assert 0 <= ScoreSums.of(found[None]).score(metric).mean <= 1
    for value in number.beyond():
        with pytest.raises(SegfoldError, match=rf"metric\.{name}\.{number}\b"):
            build_metric({name: number.at(value)})


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("dise", r"'dise' is unknown: did you mean dice\?"),
        ("accuracy of everything", "unknown: "),
        ({"dice": {}, "iou": {}}, "expected one name"),
        (["dice"], "expected one name"),
        ({"dice": 3}, "metric.dice: found 3, expected a mapping"),
        ({"global_dice": {"makro": True}}, r"unknown key metric.global_dice.makro; did you mean macro\?"),
        ({"global_dice": {"macro": 2}}, "metric.global_dice.macro: .*found 2"),
        ({"dice": {"empty": "zero"}}, "metric.dice.empty: .*one.*skip.*found 'zero'"),
        ({"boundary_accuracy": {"width": 0}}, "metric.boundary_accuracy.width: .*found 0"),
    ],
)
def test_wrong_metrics_are_refused(metric: object, message: str) -> None:
    with pytest.raises(SegfoldError, match=message):
        build_metric(metric)  # type: ignore[arg-type]
