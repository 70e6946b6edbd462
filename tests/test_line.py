"""The line of the leaderboard over CV: against scipy, t intervals by hand, and residuals with one submission left out."""

import doctest
import math

import numpy as np
import pytest
from scipy import stats

from segfold.statistics import line as module
from segfold.statistics.line import fit_line


def scattered(count: int, seed: int = 0, noise: float = 0.003) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cv = 0.8 + 0.05 * rng.random(count)
    return cv, 0.1 + 0.9 * cv + noise * rng.standard_normal(count)


@pytest.mark.parametrize("count", [3, 4, 5, 11, 40])
def test_it_is_scipys_line(count: int) -> None:
    cv, lb = scattered(count)
    found, wanted = fit_line(cv, lb), stats.linregress(cv, lb)
    assert found is not None and found.outliers == () and found.submissions == count
    assert (found.slope, found.intercept) == pytest.approx((wanted.slope, wanted.intercept), rel=1e-9)
    # scipy's standard error of the slope holds the same spread.
    assert found.spread / math.sqrt(found.squares) == pytest.approx(wanted.stderr, rel=1e-9)
    assert found.error(0.0) ** 2 - found.spread**2 == pytest.approx(wanted.intercept_stderr**2, rel=1e-6)


def test_an_interval_by_hand() -> None:
    # CV 1, 2, 3 (and 6) against 1, 3, 2 (and 6): means 3 and 3, squares 14, products 13, slope 13/14, intercept 3/14.
    found = fit_line([1, 2, 3, 6], [1, 3, 2, 6])
    assert found is not None
    assert (found.slope, found.intercept) == pytest.approx((13 / 14, 3 / 14))
    left = [1 - 16 / 14, 3 - 29 / 14, 2 - 3, 6 - 81 / 14]
    spread = math.sqrt(sum(each**2 for each in left) / 2)
    # 4.302653 is Student's t of two degrees of freedom at 97.5 %, from a table.
    half = 4.302653 * spread * math.sqrt(1 + 1 / 4 + (5 - 3) ** 2 / 14)
    low, high = found.interval(5)
    assert (float(low), float(high)) == pytest.approx((34 / 7 - half, 34 / 7 + half), rel=1e-6)
    narrow = fit_line([1, 2, 3, 6], [1, 3, 2, 6], 0.9)
    assert narrow is not None and float(narrow.interval(5)[1]) == pytest.approx(34 / 7 + half * 2.919986 / 4.302653)


def test_95_percent_of_further_submissions_are_inside() -> None:
    inside = 0
    for seed in range(2000):
        cv, lb = scattered(8, seed)
        found = fit_line(cv[:7], lb[:7])
        assert found is not None
        low, high = found.interval(cv[7])
        inside += bool(low <= lb[7] <= high)
    assert 0.93 < inside / 2000 < 0.965


@pytest.mark.parametrize("place", [0, 4, 9])
def test_an_outlier_is_named_and_how_far_it_lies_is_its_externally_studentised_residual(place: int) -> None:
    cv, lb = scattered(10)
    lb[place] = 0.7
    found = fit_line(cv, lb)
    assert found is not None and found.outliers == (place,) and found.submissions == 9
    others = np.arange(10) != place
    wanted = stats.linregress(cv[others], lb[others])
    assert (found.slope, found.intercept) == pytest.approx((wanted.slope, wanted.intercept), rel=1e-9)
    # From the fit of all ten, as textbooks have it.
    matrix = np.stack([np.ones(10), cv], axis=1)
    hat = matrix @ np.linalg.inv(matrix.T @ matrix) @ matrix.T
    left = lb - hat @ lb
    deleted = (left @ left - left[place] ** 2 / (1 - hat[place, place])) / (10 - 3)
    studentised = left[place] / math.sqrt(deleted * (1 - hat[place, place]))
    assert found.distance(cv[place], lb[place]) == pytest.approx(studentised, rel=1e-6)


def test_two_that_are_broken_alike_do_not_hide_each_other() -> None:
    cv, lb = scattered(9, seed=3)
    lb[[2, 5]] = 0.02
    found = fit_line(cv, lb)
    assert found is not None and found.outliers == (2, 5)
    matrix = np.stack([np.ones(9), cv], axis=1)
    hat = matrix @ np.linalg.inv(matrix.T @ matrix) @ matrix.T
    left = lb - hat @ lb
    each = left * np.sqrt(6 / ((left @ left) * (1 - hat.diagonal()) - left**2))
    assert np.abs(each).max() < 4  # nothing that leaves out one at a time would tell


def test_of_like_submissions_hardly_one_is_named() -> None:
    for count in (5, 10, 30):
        named = [fit_line(*scattered(count, seed)) for seed in range(400)]
        assert sum(bool(found is not None and found.outliers) for found in named) < 400 * 0.04


def test_few_and_exact_ones() -> None:
    assert fit_line([], []) is None
    assert fit_line([0.8, 0.81], [0.82, 0.83]) is None
    assert fit_line([0.8, 0.8, 0.81, 0.81], [0.82, 0.83, 0.84, 0.84]) is None, "two different CV scores"
    cv = [0.8, 0.81, 0.82, 0.83, 0.84, 0.85]
    exact = fit_line(cv, [each + 0.01 for each in cv])
    assert exact is not None and exact.outliers == () and exact.slope == pytest.approx(1)
    assert exact.interval(0.9) == pytest.approx((0.91, 0.91))
    with pytest.raises(ValueError, match="as many"):
        fit_line([0.8, 0.9, 1.0], [0.8])


def test_equal_cvs_are_no_fault() -> None:
    cv, lb = scattered(12, seed=5)
    cv[:7] = 0.82
    lb[:7] = 0.1 + 0.9 * 0.82 + np.random.default_rng(0).standard_normal(7) * 0.003
    found, wanted = fit_line(cv, lb), stats.linregress(cv, lb)
    assert found is not None and found.slope == pytest.approx(wanted.slope)


def test_the_example() -> None:
    assert doctest.testmod(module).failed == 0
