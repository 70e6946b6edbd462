"""Tables by groups of images: every image is in one row, the rows add up, and ranges hold about as many images each."""

import math

import numpy as np
import pytest

from segfold.cli.show import mean_line
from segfold.metrics import METRICS
from segfold.statistics.bootstrap import paired
from segfold.statistics.groups import by_group, coverage_groups, number_groups


def test_ranges_hold_as_many_images_each() -> None:
    rng = np.random.default_rng(0)
    depths = rng.permutation(100) * 10
    names, number = number_groups(depths)
    assert names == ["0 to 190", "200 to 390", "400 to 590", "600 to 790", "800 to 990"]
    assert np.bincount(number).tolist() == [20] * 5
    assert (number == depths // 200).all()


@pytest.mark.parametrize(
    ("values", "names", "sizes"),
    [
        ([7.0] * 6, ["7"], [6]),
        ([1, 1, 1, 1, 1, 1, 1, 1, 2, 3], ["1", "2 to 3"], [8, 2]),
        ([0.5, 0.25], ["0.25", "0.5"], [1, 1]),
        ([3, 1, 2, 1], ["1", "2", "3"], [2, 1, 1]),
    ],
)
def test_equal_numbers_are_in_one_range(values: list[float], names: list[str], sizes: list[int]) -> None:
    found, number = number_groups(np.array(values))
    assert found == names and np.bincount(number).tolist() == sizes
    by_value = dict(zip(values, number.tolist()))
    assert [by_value[value] for value in values] == number.tolist()


def test_coverage_classes() -> None:
    names, number = coverage_groups(np.array([0, 1e-4, 0.1, 0.1001, 0.7, 1.0]))
    assert [names[each] for each in number] == [
        "empty",
        "0 to 10 %",
        "0 to 10 %",
        "10 to 20 %",
        "60 to 70 %",
        "90 to 100 %",
    ]


@pytest.mark.parametrize("name", ["dice", "miou"])
def test_rows_are_scores_of_their_images_alone(name: str) -> None:
    rng, metric = np.random.default_rng(1), METRICS[name]()
    union = rng.integers(1, 99, (90, 2)).astype(float)
    a, b = (
        share if metric.size(2) == 1 else np.hstack([union * share, union])
        for share in (rng.random((90, metric.size(2) if metric.size(2) == 1 else 2)) for _ in "ab")
    )
    number = rng.integers(0, 4, 90) * 2  # every second group has no image
    groups = by_group([f"g{index}" for index in range(8)], number, a, b, metric)
    assert [group.name for group in groups] == ["g0", "g2", "g4", "g6"]
    for group, index in zip(groups, (0, 2, 4, 6)):
        inside = number == index
        assert group.found.difference == pytest.approx(paired(a[inside], b[inside], metric, 10).difference)
        mixed = np.where(inside[:, None], b, a)
        assert group.adds == pytest.approx(float(metric.value(mixed.sum(0), 90) - metric.value(a.sum(0), 90)))
    if metric.size(2) == 1:
        whole = paired(a, b, metric, 10).difference
        assert sum(group.adds for group in groups) == pytest.approx(whole)


def test_mean_over_folds_has_an_error_over_folds_and_one_over_images() -> None:
    line = mean_line([0.80, 0.82, 0.84, 0.86], [0.01, 0.02, 0.01, 0.02])
    over_folds = math.sqrt(np.var([0.80, 0.82, 0.84, 0.86], ddof=1) / 4)
    over_images = math.sqrt(0.001) / 4
    assert line == f"mean over 4 folds: 0.8300 ± {over_folds:.4f} over the folds, ± {over_images:.4f} over their images"
    assert mean_line([0.8, 0.9], [0.01, None]) == "mean over 2 folds: 0.8500 ± 0.0500"
    # The folds' errors are those of a mean over all images: equal folds of images that are scored one by one.
    scores = np.random.default_rng(2).random((4, 50))
    errors = scores.std(axis=1, ddof=1) / math.sqrt(50)
    within = math.sqrt(np.mean(scores.var(axis=1, ddof=1)) / 200)
    assert f"± {within:.4f} over their images" in mean_line(scores.mean(axis=1).tolist(), errors.tolist())
