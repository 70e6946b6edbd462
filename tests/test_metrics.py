"""Metrics against exact fractions, the facts of the competition, and one threshold after the other."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfold.metrics import (
    IMAGE_SCORES,
    METRICS,
    Counts,
    counts,
    image_dice,
    image_iou,
    overlap,
    score,
    score_counts,
)


def exact(inter: int, union: int) -> float:
    """The definition in fractions: IoU greater than .50, .55, … .95."""
    if union == 0:
        return 1.0
    return sum(Fraction(inter, union) > Fraction(50 + 5 * k, 100) for k in range(10)) / 10


def blobs(count: int, height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and truths that resemble each other; some truths are empty, some codes all 0 or 65535."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 30
    a, b, c = rng.normal(0, 3, (3, count, 1, 1))
    field = np.sin(a * x + b * y + c)
    truth = (field > 0.2).astype(np.uint8)
    truth[::4] = 0
    p = 1 / (1 + np.exp(-8 * (field - 0.2 + rng.normal(0, 0.3, field.shape))))
    p[1], p[4] = 0, 0
    p[2] = 1
    return np.floor(65535 * p + 0.5).astype(np.uint16), truth


def pair(inter: int, pred_only: int, truth_only: int, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    pred, truth = np.zeros((2, 1, 1, size), np.uint8)
    pred[..., : inter + pred_only] = 1
    truth[..., :inter] = 1
    truth[..., inter + pred_only : inter + pred_only + truth_only] = 1
    return pred, truth


@pytest.mark.parametrize(
    ("inter", "union", "expected"),
    [(50, 100, 0.0), (51, 100, 0.1), (72, 100, 0.5), (95, 100, 0.9), (96, 100, 1.0), (100, 100, 1.0)],
)
def test_facts_of_the_competition(inter: int, union: int, expected: float) -> None:
    pred, truth = pair(inter, union - inter, 0)
    assert score(pred, truth) == [expected]
    pred, truth = pair(inter, 0, union - inter)
    assert score(pred, truth) == [expected]


def test_empty_masks() -> None:
    empty, full = np.zeros((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8)
    assert score(empty, empty) == [1]
    assert score(full, empty) == [0]
    assert score(empty, full) == [0]
    assert score(full, full) == [1]


def test_every_exact_threshold_is_strict() -> None:
    # 11/20 … 19/20 are where floating point and ``>=`` go wrong.
    inter = np.arange(10, 21)
    np.testing.assert_array_equal(score_counts(inter, np.full(11, 20), inter, np.full(11, 20)), np.arange(11) / 10)
    assert np.linspace(0.5, 0.95, 10)[8] < 18 / 20  # a float loop would take .9 for greater than .9
    assert exact(18, 20) == 0.8


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_score_equals_fractions(one: int, other: int) -> None:
    inter, union = min(one, other), max(one, other)
    got = score_counts(np.array([inter]), np.array([union]), np.array([inter]), np.array([union]))
    assert got.dtype == np.float64 and got[0] == exact(inter, union)


def test_large_counts_do_not_overflow() -> None:
    n = np.array([2**31], np.int64)
    assert score_counts(n, n, n, n) == [1]
    small = np.array([2**30], np.int32)
    assert score_counts(small, small, small, small) == [1]


def test_shifted_truth_scores_between() -> None:
    _, truth = blobs(40, 60, 60, seed=0)
    assert score(truth, truth).mean() == 1
    shifted = score(np.roll(truth, 1, axis=1), truth)
    assert 0.5 < shifted.mean() < 1


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.float32])
def test_counts_equal_numpy(dtype: type) -> None:
    rng = np.random.default_rng(1)
    pred, truth = rng.random((2, 9, 13, 17)) < 0.4
    got = overlap(pred.astype(dtype) * dtype(255 if dtype is np.uint8 else 1), truth)
    np.testing.assert_array_equal(got.inter, (pred & truth).sum((1, 2)))
    np.testing.assert_array_equal(got.union, (pred | truth).sum((1, 2)))
    np.testing.assert_array_equal(got.pred_area, pred.sum((1, 2)))
    np.testing.assert_array_equal(got.truth_area, truth.sum((1, 2)))
    inter, union = counts(pred, truth)
    np.testing.assert_array_equal([inter, union], [got.inter, got.union])


class Lazy:
    """Images that are made when asked for, one at a time, as a store does."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> np.ndarray:
        if not isinstance(i, int):
            raise TypeError("no slices")
        return self.images[i]


@pytest.mark.parametrize("threads", [1, 2])
def test_images_of_any_sizes(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr("segfold.metrics.areas.cores", lambda: threads)
    monkeypatch.setattr("segfold.metrics.areas._PIXELS_PER_PIECE", 3000)
    codes, truth, expected = [], [], []
    for i, (height, width) in enumerate([(20, 30), (31, 7), (50, 50), (1, 9), (20, 30)]):
        c, t = blobs(5, height, width, seed=i)
        codes += list(c)
        truth += list(t)
        expected.append(score(c >= 40000, t))
    masks = [c >= 40000 for c in codes]
    for make in (list, Lazy):
        np.testing.assert_array_equal(score(make(masks), make(truth)), np.concatenate(expected))  # type: ignore[arg-type]


def test_no_images() -> None:
    assert score([], []).shape == (0,)


def test_iou_and_dice() -> None:
    pred, truth = np.zeros((2, 3, 2, 4), np.uint8)
    pred[0, 0], truth[0, 0, 1:] = 1, 1  # 3 of 4
    pred[1] = 1  # nothing is there: 0 of 8; image 2 is empty in both
    both = overlap(pred, truth)
    np.testing.assert_array_equal(image_iou(*both), [0.75, 0, 1])
    np.testing.assert_array_equal(image_dice(*both), [6 / 7, 0, 1])
    for name, expected in (("miou", 3 / 12), ("global_dice", 6 / 15)):
        metric = METRICS[name]()
        of_each = metric.of(Counts(*(array[:, None] for array in both)))  # type: ignore[attr-defined]
        assert metric.value(of_each.sum(axis=0), 3) == expected
        assert metric.value(of_each[2], 1) == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_dice_is_a_function_of_iou(inter: int, pred_only: int, truth_only: int) -> None:
    both = overlap(*pair(inter, pred_only, truth_only))
    iou, dice = image_iou(*both), image_dice(*both)
    np.testing.assert_allclose(dice, 2 * iou / (1 + iou))
    assert both.union == [inter + pred_only + truth_only]


def test_every_metric_takes_tables_of_counts() -> None:
    codes, truth = blobs(6, 20, 20, seed=5)
    found = [overlap(codes >= threshold, truth) for threshold in (5000, 30000, 60000)]
    table = [np.stack(column, axis=1) for column in zip(*found)]
    for metric in IMAGE_SCORES.values():
        got = metric(*table)
        for number, each in enumerate(found):
            np.testing.assert_array_equal(got[:, number], metric(*each))


def test_wrong_calls() -> None:
    images = np.zeros((2, 3, 4), np.uint16)
    with pytest.raises(ValueError, match="2 predictions and 1 truths"):
        score(images, images[:1])
    with pytest.raises(ValueError, match=r"shape \(3, 4\), its truth \(4, 3\)"):
        score(images, images.transpose(0, 2, 1))
