"""Metrics of objects, near edges and inside against plain loops over all pairs of objects, thresholds and pixels."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from segfold.metrics import METRICS, MaskMetric, ScoreSums, Truth, build_metric

EIGHT = np.ones((3, 3), int)
OBJECTS = ["object_precision", "object_f2"]
FORMULAS: dict[str, Callable[[int, int, int], Fraction]] = {
    "object_precision": lambda tp, fp, fn: Fraction(tp, tp + fp + fn),
    "object_f2": lambda tp, fp, fn: Fraction(5 * tp, 5 * tp + 4 * fn + fp),
}


def plain(name: str, mask: np.ndarray, truth: Truth, least: int = 0) -> float:
    """The definition: components of a mask against objects, every pair, in fractions."""
    valid = np.ones(mask.shape[1:], bool) if truth.valid is None else truth.valid
    pairs: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
    for plane, true in zip(mask, truth.planes):
        labels, count = ndimage.label(plane, EIGHT)
        predicted = [labels == k for k in range(1, count + 1) if (labels == k).sum() >= least]
        numbers = ndimage.label(true, EIGHT)[0] if truth.objects is None else truth.objects * true
        objects = [numbers == k for k in np.unique(numbers) if k]
        pairs.append(tuple([each & valid for each in group if (each & valid).any()] for group in (predicted, objects)))
    scores = []
    for step in range(10):
        tp = sum(
            Fraction(int((p & t).sum()), int((p | t).sum())) > Fraction(10 + step, 20)
            for predicted, objects in pairs
            for p, t in product(predicted, objects)
        )
        fp = sum(len(predicted) for predicted, _ in pairs) - tp
        fn = sum(len(objects) for _, objects in pairs) - tp
        scores.append(FORMULAS[name](tp, fp, fn) if tp + fp + fn else Fraction(1))
    return float(sum(scores) / 10)


def picture(seed: int, size: tuple[int, int] = (40, 52), classes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Codes H×W and C×H×W numbers of disjoint objects that touch; the codes follow them more or less."""
    rng = np.random.default_rng(seed)
    objects = np.zeros((classes, *size), np.int64)
    y, x = np.mgrid[: size[0], : size[1]]
    for number in range(1, 13):
        cy, cx, r = rng.integers(0, size[0]), rng.integers(0, size[1]), rng.integers(2, 8)
        blob = ((y - cy) ** 2 + (x - cx) ** 2 <= r * r) & (objects == 0).all(axis=0)
        objects[rng.integers(classes)][blob] = 7 * number
    soft = ndimage.gaussian_filter((objects > 0).any(axis=0).astype(float), 1.2) + rng.normal(0, 0.08, size)
    return np.clip(soft * 65535, 0, 65535).astype(np.uint16), objects


def truths(objects: np.ndarray, seed: int) -> list[Truth]:
    """With and without numbers of the objects, with and without void."""
    planes = objects > 0
    valid = np.random.default_rng(seed).random(planes.shape[1:]) < 0.9
    valid[:9] = False  # some components are all void
    numbers = objects.max(axis=0)
    return [Truth(planes), Truth(planes, None, numbers), Truth(planes, valid), Truth(planes, valid, numbers)]


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("seed", range(4))
def test_every_threshold_and_smallest_component(name: str, seed: int) -> None:
    codes, objects = picture(seed)
    metric = build_metric(name)
    assert isinstance(metric, MaskMetric)
    thresholds, areas = [0, 9000, 20000, 20000, 30001, 30002, 45000, 65535], [0, 1, 6, 30, 30, 200, 10**9]
    for truth in truths(objects, seed):
        found = metric.swept(codes, truth, thresholds, areas)
        assert found.shape == (8, 7, 1)
        expected = [[plain(name, codes[None] >= t, truth, area) for area in areas] for t in thresholds]
        np.testing.assert_allclose(found[..., 0], expected, atol=1e-15)
        np.testing.assert_array_equal(found[:, 2:], metric.swept(codes, truth, thresholds, areas[2:]))
        np.testing.assert_allclose(found, MaskMetric.swept(metric, codes, truth, thresholds, areas), atol=1e-15)
    assert 0.1 < np.max(expected) < 1


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("seed", range(4))
def test_objects_of_several_classes(name: str, seed: int) -> None:
    _, objects = picture(seed, classes=3)
    pred = objects > 0
    pred ^= np.random.default_rng(seed).random(pred.shape) < 0.02
    for truth in truths(objects, seed):
        assert METRICS[name]().of(pred, truth) == pytest.approx(plain(name, pred, truth), abs=1e-15)


@pytest.mark.parametrize(("found", "hits"), [(10, 0), (11, 1), (12, 2), (18, 8), (19, 9), (20, 10)])
def test_a_hit_is_greater_than_its_threshold(found: int, hits: int) -> None:
    truth, pred = np.zeros((2, 1, 1, 20), bool)
    truth[:] = True
    pred[..., :found] = True
    for name in OBJECTS:
        assert METRICS[name]().of(pred, Truth(truth)) == pytest.approx(hits / 10)
        assert METRICS[name]().of(truth, Truth(pred)) == pytest.approx(hits / 10)


def test_images_without_objects() -> None:
    nothing, something = np.zeros((1, 6, 6), bool), np.eye(6, dtype=bool)[None]
    for name in OBJECTS:
        metric = METRICS[name]()
        assert metric.of(nothing, Truth(nothing)) == 1
        assert metric.of(something, Truth(nothing)) == metric.of(nothing, Truth(something)) == 0
        assert metric.of(something, Truth(something)) == 1  # a diagonal is one component, and one object
    assert METRICS["object_f2"]().of(something, Truth(something, ~something[0])) == 1  # all void


def test_touching_objects_are_told_apart_by_their_numbers() -> None:
    truth = np.ones((1, 4, 8), bool)
    numbers = np.repeat([[1, 2]], 4, axis=1) * np.ones((4, 1), int)
    pred = truth.copy()
    pred[..., 4] = (
        False  # 4 of 4 and 3 of 4 columns, so the second is hit at .50 … .70; of both together half is 16 of 32
    )
    for name, expected in (("object_precision", (5 + 5 * 1 / 3) / 10), ("object_f2", (5 + 5 * 5 / 10) / 10)):
        assert METRICS[name]().of(pred, Truth(truth, None, numbers)) == pytest.approx(expected)
        assert METRICS[name]().of(pred, Truth(truth)) == 0


def test_most_of_an_object_is_what_matches_whatever_comes_first() -> None:
    """A corner of the object alone, and the rest of it but a gap between them."""
    truth = np.ones((1, 8, 8), bool)
    pred = truth.copy()
    pred[0, :3, :3] = False
    pred[0, :1, :2] = True
    for mask in (pred, pred[..., ::-1], pred[:, ::-1], pred[:, ::-1, ::-1]):
        # 55 of 64 is greater than .50 … .85; two predicted, one true.
        assert METRICS["object_precision"]().of(mask, Truth(truth)) == pytest.approx(8 / 10 / 2)
        assert METRICS["object_f2"]().of(mask, Truth(truth)) == pytest.approx(8 / 10 * 5 / 6)


def test_recall_weighs_more_in_f2() -> None:
    truth = np.zeros((1, 3, 9), bool)
    truth[..., ::2] = True
    fewer, metric = truth.copy(), METRICS["object_f2"]()
    fewer[..., :2] = False  # 4 of 5
    assert metric.of(fewer, Truth(truth)) == pytest.approx(5 * 4 / (5 * 4 + 4))
    assert metric.of(truth, Truth(fewer)) == pytest.approx(5 * 4 / (5 * 4 + 1))
    assert METRICS["object_precision"]().of(fewer, Truth(truth)) == pytest.approx(4 / 5)


def near(labels: np.ndarray, width: int) -> np.ndarray:
    """Whether a pixel of another label lies within the distance, pixel by pixel."""
    found = np.zeros(labels.shape, bool)
    places = list(np.ndindex(*labels.shape))
    for y, x in places:
        found[y, x] = any(
            labels[y, x] != labels[b, a] for b, a in places if (b - y) ** 2 + (a - x) ** 2 <= width * width
        )
    return found


@pytest.mark.parametrize("width", [1, 2, 5])
def test_edges_and_the_rest(width: int) -> None:
    rng = np.random.default_rng(width)
    labels = np.zeros((17, 23), int)
    labels[4:11, 3:15], labels[8:, 12:] = 1, 2
    labels[12:, :5] = 255
    valid = labels != 255
    pred = np.where(rng.random(labels.shape) < 0.7, labels, 0)
    edge = near(labels, width)
    truth = Truth(np.stack([labels == c for c in range(3)]), valid)
    planes = np.stack([pred == c for c in range(3)])
    for name, region in (("boundary_accuracy", edge), ("internal_accuracy", ~edge)):
        metric = build_metric({name: {"width": width}})
        assert isinstance(metric, MaskMetric)
        found = metric.of(planes, truth)
        np.testing.assert_array_equal(found, [((pred == labels) & valid & region).sum(), (valid & region).sum()])
        assert metric.value(found, 1) == found[0] / found[1]


def test_edges_of_the_whole_set_and_none() -> None:
    metric, full = METRICS["boundary_accuracy"](), np.ones((1, 20, 20), bool)
    assert metric.width == METRICS["internal_accuracy"]().width == 7
    assert list(metric.of(full, Truth(full))) == [0, 0] and metric.value([0, 0], 1) == 1
    half = full.copy()
    half[..., :10] = False
    assert list(metric.of(full, Truth(half))) == [140, 280]
    assert list(METRICS["internal_accuracy"]().of(full, Truth(half))) == [60, 120]
    features = np.array([metric.of(full, Truth(half)), metric.of(full, Truth(full)), metric.of(half, Truth(half))])
    assert ScoreSums.of(features).score(metric).mean == 420 / 560


def test_edges_at_every_threshold_and_smallest_component() -> None:
    codes, objects = picture(3)
    truth, metric = Truth(objects > 0), METRICS["boundary_accuracy"](width=3)
    found = metric.swept(codes, truth, [20000, 40000], [0, 5, 6, 90])
    for (i, threshold), (j, area) in product(enumerate([20000, 40000]), enumerate([0, 5, 6, 90])):
        labels, count = ndimage.label(codes >= threshold, EIGHT)
        keep = [k for k in range(1, count + 1) if (labels == k).sum() >= area]
        np.testing.assert_array_equal(found[i, j], metric.of(np.isin(labels, keep)[None], truth))
    assert len(np.unique(found[..., 0])) > 3


@pytest.mark.parametrize("name", [*OBJECTS, "boundary_accuracy"])
def test_wrong_calls(name: str) -> None:
    codes, truth, metric = np.zeros((4, 5), np.uint16), Truth(np.zeros((1, 4, 5), bool)), METRICS[name]()
    for arguments, message in (
        ((codes.T, truth, [1], [0]), "one class of one size"),
        ((codes, Truth(np.zeros((2, 4, 5), bool)), [1], [0]), "one class of one size"),
        ((codes, truth, [2, 1], [0]), "thresholds"),
        ((codes, truth, [1], []), "areas"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.swept(*arguments)
    with pytest.raises(ValueError, match="expected one shape"):
        metric.of(np.zeros((1, 5, 4), bool), truth)
