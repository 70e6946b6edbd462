"""Metrics from counts of pixels against scikit-learn and the hand-computed example of the FCN paper's four metrics."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, jaccard_score

from segfold.metrics import METRICS, CountMetric, Counts, ScoreSums, build_metric, overlap, score

VOID = 255
FROM_COUNTS = [name for name, builder in METRICS.items() if isinstance(builder(), CountMetric)]
HAND = np.array([[3, 1, 0], [1, 2, 0], [0, 1, 0]])  # rows the truth, columns the prediction


def maps(seed: int, images: int = 8, classes: int = 4, size: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """N×H×W predicted and true classes that agree in part; some pixels are void, class 3 is in one image only."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes - 1, (images, size, size))
    truth[2, :5] = classes - 1
    pred = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, classes - 1, truth.shape))
    truth[rng.random(truth.shape) < 0.1] = VOID
    return pred, truth


def counts_of(pred: np.ndarray, truth: np.ndarray, classes: int) -> Counts:
    """(N, C) counts, a class and an image at a time."""
    found = np.zeros((3, len(pred), classes), np.int64)
    for n, (p, t) in enumerate(zip(pred, truth)):
        for c in range(classes):
            found[:, n, c] = [
                np.sum((p == c) & (t == c)),
                np.sum((p == c) & (t != VOID)),
                np.sum(t == c),
            ]
    inter, pred_area, truth_area = found
    return Counts(inter, pred_area + truth_area - inter, pred_area, truth_area)


def of_confusion(confusion: np.ndarray) -> Counts:
    inter, pred_area, truth_area = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return Counts(*(each[None] for each in (inter, pred_area + truth_area - inter, pred_area, truth_area)))


def value(name: str, counts: Counts, **settings: object) -> float:
    """Of counts (N, C), through sums of two parts."""
    metric = build_metric({name: settings})
    assert isinstance(metric, CountMetric)
    features = metric.of(counts)
    assert features.shape == (len(counts.inter), metric.size(counts.inter.shape[1]))
    assert features.dtype == np.float64
    return (ScoreSums.of(features[:3]) + ScoreSums.of(features[3:])).score(metric).mean


@pytest.mark.parametrize(
    ("name", "expected"),
    [("miou", 0.333333), ("pixel_accuracy", 0.625), ("mean_accuracy", 0.472222), ("fw_iou", 0.45)],
)
def test_hand_computed_confusion(name: str, expected: float) -> None:
    assert value(name, of_confusion(HAND)) == pytest.approx(expected, abs=5e-7)


def test_every_class_of_the_hand_computed_confusion() -> None:
    metric = METRICS["miou"]()
    np.testing.assert_allclose(metric.each(metric.of(of_confusion(HAND))[0]), [0.6, 0.4, 0])


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn(seed: int) -> None:
    pred, truth = maps(seed)
    counts = counts_of(pred, truth, 4)
    p, t = pred[truth != VOID], truth[truth != VOID]
    confusion = confusion_matrix(t, p)
    assert value("miou", counts) == pytest.approx(jaccard_score(t, p, average="macro"), rel=1e-12)
    assert value("fw_iou", counts) == pytest.approx(jaccard_score(t, p, average="weighted"), rel=1e-12)
    assert value("mean_accuracy", counts) == pytest.approx(balanced_accuracy_score(t, p), rel=1e-12)
    assert value("pixel_accuracy", counts) == pytest.approx(np.trace(confusion) / confusion.sum(), rel=1e-12)
    assert value("global_dice", counts, macro=True) == pytest.approx(f1_score(t, p, average="macro"), rel=1e-12)
    assert value("global_dice", counts) == pytest.approx(f1_score(t, p, average="micro"), rel=1e-12)
    assert value("global_dice", counts) != pytest.approx(value("global_dice", counts, macro=True), rel=1e-3)


def test_scikit_learn_of_labels_that_do_not_exclude_each_other() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random((6, 3, 11, 13)) < 0.4
    pred = truth ^ (rng.random(truth.shape) < 0.2)
    parts = [overlap(pred[:, c], truth[:, c]) for c in range(3)]
    counts = Counts(*(np.stack(column, axis=1) for column in zip(*parts)))
    t, p = (each.transpose(0, 2, 3, 1).reshape(-1, 3) for each in (truth, pred))
    assert value("miou", counts) == pytest.approx(jaccard_score(t, p, average="macro"), rel=1e-12)
    for macro, average in ((False, "micro"), (True, "macro")):
        assert value("global_dice", counts, macro=macro) == pytest.approx(f1_score(t, p, average=average), rel=1e-12)
    for name, scored in (("dice", f1_score), ("iou", jaccard_score)):
        each = [scored(truth[n, c].ravel(), pred[n, c].ravel()) for n in range(6) for c in range(3)]
        assert value(name, counts) == pytest.approx(np.mean(each), rel=1e-12)
    each = [score(pred[n, c][None], truth[n, c][None])[0] for n in range(6) for c in range(3)]
    assert value("precision", counts) == pytest.approx(np.mean(each), rel=1e-12)


def test_dice_without_pairs_of_empty_masks() -> None:
    """Every image and class that is left weighs the same; images may have none left."""
    rng = np.random.default_rng(7)
    truth = (rng.random((9, 3, 8, 8)) < 0.4) & (rng.random((9, 3)) < 0.5)[..., None, None]
    pred = (truth ^ (rng.random(truth.shape) < 0.1)) & (rng.random((9, 3)) < 0.6)[..., None, None]
    pred[2] = truth[2] = False
    parts = [overlap(pred[:, c], truth[:, c]) for c in range(3)]
    counts = Counts(*(np.stack(column, axis=1) for column in zip(*parts)))
    pairs = [(truth[n, c].ravel(), pred[n, c].ravel()) for n in range(9) for c in range(3)]
    left = [f1_score(t, p) for t, p in pairs if t.any() or p.any()]
    assert 9 < len(left) < 24
    assert value("dice", counts, empty="skip") == pytest.approx(np.mean(left), rel=1e-12)
    assert value("dice", counts) == value("dice", counts, empty="one")
    assert value("dice", counts) == pytest.approx((np.sum(left) + 27 - len(left)) / 27, rel=1e-12)
    skips = build_metric({"dice": {"empty": "skip"}})
    assert METRICS["dice"]().by_class and not skips.by_class, "of classes with unlike many pairs no mean of theirs"


def test_one_class_is_its_own_score() -> None:
    """Of binary masks, a score of an image is the plain one to the bit, and a score of the set is that of one image."""
    rng = np.random.default_rng(6)
    pred, truth = rng.random((2, 7, 9, 9)) < 0.5
    plain = overlap(pred, truth)
    counts = Counts(*(each[:, None] for each in plain))
    np.testing.assert_array_equal(METRICS["precision"]().of(counts)[:, 0], score(pred, truth))
    assert value("precision", counts) == score(pred, truth).mean()
    assert value("global_dice", counts) == value("global_dice", counts, macro=True)
    assert value("global_dice", counts) == pytest.approx(f1_score(truth.ravel(), pred.ravel()))
    assert value("miou", counts) == pytest.approx(jaccard_score(truth.ravel(), pred.ravel()))
    assert value("miou", counts) != pytest.approx(value("iou", counts), rel=1e-6)


def test_absent_classes() -> None:
    """Class 1 is nowhere, class 2 predicted but never true, class 3 the other way round."""
    counts = Counts(*(np.array([row]) for row in ([6, 0, 0, 0], [8, 0, 5, 3], [7, 0, 5, 0], [7, 0, 0, 3])))
    assert value("miou", counts) == pytest.approx((6 / 8 + 0 + 0) / 3)
    assert value("mean_accuracy", counts) == pytest.approx((6 / 7 + 0) / 2)
    assert value("global_dice", counts, macro=True) == pytest.approx((12 / 14 + 0 + 0) / 3)
    assert value("global_dice", counts) == pytest.approx(12 / (12 + 10))
    assert value("pixel_accuracy", counts) == pytest.approx(6 / 10)
    assert value("fw_iou", counts) == pytest.approx((7 * 6 / 8) / 10)
    assert value("dice", counts) == pytest.approx((12 / 14 + 1) / 4)
    assert value("dice", counts, empty="skip") == pytest.approx((12 / 14 + 0 + 0) / 3)
    assert value("precision", counts) == pytest.approx((0.5 + 1) / 4)
    np.testing.assert_allclose(METRICS["miou"]().each([6, 0, 0, 0, 8, 0, 5, 3]), [0.75, np.nan, 0, 0])


@pytest.mark.parametrize("name", FROM_COUNTS)
def test_nothing_at_all_and_nothing_true(name: str) -> None:
    zero = np.zeros((2, 3), np.int64)
    assert value(name, Counts(zero, zero, zero, zero)) == 1
    expected = 1 if name in ("pixel_accuracy", "mean_accuracy") else 0  # shares of no true pixels
    assert value(name, Counts(zero, zero + 4, zero + 4, zero)) == expected


@pytest.mark.parametrize("name", FROM_COUNTS)
def test_tables_of_counts_are_taken_elementwise(name: str) -> None:
    metric = METRICS[name]()
    counts = counts_of(*maps(9), 4)
    table = Counts(*(np.stack([each, each[::-1]]).reshape(2, 4, 2, 4) for each in counts))
    features = metric.of(table)
    np.testing.assert_array_equal(features[0].reshape(8, -1), metric.of(counts))
    sums = features.sum(axis=(1, 2))
    np.testing.assert_array_equal(metric.value(sums, np.array([8, 8])), [metric.value(row, 8) for row in sums])
