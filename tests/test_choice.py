"""The threshold and the smallest component that are chosen on out-of-fold predictions, and what they are said to score."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats

from segfold.ensemble.grid import AREAS, LARGER_AREAS, Grid, areas_up_to
from segfold.ensemble.select import MeanScore, choose, grid_scores
from segfold.ensemble.sweep import Sweep
from segfold.errors import SegfoldError
from segfold.metrics import METRICS
from segfold.post import MinArea, Threshold
from segfold.post.threshold import threshold_code
from segfold.store.reader import HALF
from store_samples import smooth


def score_of(mask, truth):
    """The metric from its definition, with OpenCV and Python integers only."""
    p, t = int(mask.sum()), int(truth.sum())
    if not p and not t:
        return 1.0
    inter = int((mask & truth).sum())
    return sum(20 * inter > (p + t - inter) * (10 + k) for k in range(10)) / 10 if p and t else 0.0


def test_grid_scores_are_the_scores_of_the_masks_that_would_be_submitted():
    thresholds, areas = (0.3, 0.5, 0.62), (0, 30, 90)
    sizes = [101, 40, 64]
    blended = [(f"i{n}", smooth(n, size)[None]) for n, size in enumerate(sizes)]
    truth = {"i0": smooth(0) > 30000, "i1": np.zeros((40, 40), bool), "i2": smooth(2, 64) > 40000}
    ids, scores = grid_scores(iter(blended), truth.__getitem__, METRICS["precision"], Grid.whole(thresholds, areas))
    assert ids == ["i0", "i1", "i2"] and scores.shape == (3, 3, 3)
    for (image_id, codes), found in zip(blended, scores):
        for t, threshold in enumerate(thresholds):
            for a, min_area in enumerate(areas):
                mask = MinArea(min_area=min_area)(Threshold(value=threshold)(codes[0]))
                assert found[t, a] == pytest.approx(score_of(mask, truth[image_id].astype(np.uint8)))
    assert len(np.unique(scores)) > 3


@pytest.mark.parametrize("name", list(METRICS))
def test_grid_scores_take_any_metric(name):
    codes, truth = smooth(1), (smooth(1) > 36000).astype(np.uint8)
    _, scores = grid_scores([("a", codes[None])], lambda _: truth, METRICS[name], Grid.whole((0.5,), (0,)))
    mask = codes >= HALF
    p, t, inter = mask.sum(), truth.sum(), (mask & (truth > 0)).sum()
    expected = {
        "precision": score_of(mask, truth),
        "iou": inter / (p + t - inter),
        "dice": 2 * inter / (p + t),
    }
    assert scores.item() == pytest.approx(expected[name], abs=1e-6)


def test_grid_scores_refuse_another_size():
    with pytest.raises(SegfoldError, match="image a: predicted"):
        grid_scores([("a", np.zeros((1, 4, 4), np.uint16))], lambda _: np.zeros((4, 5)), METRICS["iou"])


GRID = Grid.whole((0.4, 0.45, 0.5, 0.55, 0.6), (0, 5, 10))


def test_choice_takes_the_best_mean():
    scores = np.random.default_rng(0).random((40, 5, 3)).astype(np.float32)
    scores[:, 3, 1] += 0.6
    chosen = choose([str(i) for i in range(40)], scores, np.arange(40) % 4, GRID)
    assert (chosen.threshold, chosen.min_area) == (0.55, 5)
    assert chosen.plain.mean == pytest.approx(scores[:, 2, 0].mean())
    assert chosen.plain.standard_error == pytest.approx(scipy.stats.sem(scores[:, 2, 0].astype(float)))
    assert chosen.tuned.mean == pytest.approx(scores[:, 3, 1].mean()) and chosen.tuned.images == 40
    assert chosen.nested.mean == pytest.approx(chosen.tuned.mean)  # every part chooses the same here
    assert chosen.as_record()["nested_over"] == "4 folds"


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ([(t, a) for t in range(5) for a in range(3)], (0.5, 0)),
        ([(0, 0), (3, 2)], (0.55, 10)),
        ([(1, 2), (1, 1)], (0.45, 5)),
        ([(3, 1), (1, 1)], (0.45, 5)),
        ([(4, 0), (3, 1)], (0.55, 5)),
    ],
)
def test_the_simplest_of_equals_is_chosen(ties, expected):
    """Equal up to rounding: the means are of the same scores in another order."""
    rng = np.random.default_rng(1)
    values = rng.integers(3, 11, 500) / 10
    scores = np.zeros((500, 5, 3), np.float32)
    for t, a in ties:
        scores[:, t, a] = rng.permutation(values)
    chosen = choose([str(i) for i in range(500)], scores, np.zeros(500), GRID)
    assert (chosen.threshold, chosen.min_area) == expected


def test_rounding_of_the_scores_breaks_no_tie():
    """0.1 + 0.2 + 0.9 = 3 × 0.4, but not in single precision."""
    scores = np.zeros((3, 5, 3), np.float32)
    scores[:, 2, 0] = 0.1, 0.2, 0.9
    scores[:, 1, 0] = 0.4
    assert scores[:, 2, 0].sum(dtype=float) < scores[:, 1, 0].sum(dtype=float)
    assert choose(list("abc"), scores, [0, 1, 2], GRID).threshold == 0.5


def test_nested_estimate_by_hand():
    """Each fold likes another threshold, so what the other fold chose is wrong for it."""
    scores = np.zeros((4, 5, 3), np.float32)
    scores[:2, 1, 0] = 1.0, 0.8  # fold 0 is best at .45
    scores[2:, 4, 2] = 0.7, 0.6  # fold 1 at .6 and area 10
    scores[:2, 4, 2] = 0.1, 0.3
    scores[2:, 1, 0] = 0.2, 0.4
    chosen = choose(list("abcd"), scores, [0, 0, 1, 1], GRID)
    assert (chosen.threshold, chosen.min_area) == (0.45, 0)
    assert chosen.tuned.mean == pytest.approx((1.0 + 0.8 + 0.2 + 0.4) / 4)
    assert chosen.nested.mean == pytest.approx((0.1 + 0.3 + 0.2 + 0.4) / 4)
    assert chosen.plain.mean == 0


def test_nested_estimate_is_honest_on_noise():
    """Pure noise has nothing to tune: tuned flatters itself, nested does not."""
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(40):
        scores = rng.random((60, 5, 3)).astype(np.float32)
        chosen = choose([str(i) for i in range(60)], scores, np.arange(60) % 5, GRID)
        gains.append((chosen.tuned.mean - 0.5, chosen.nested.mean - 0.5))
    tuned, nested = np.mean(gains, axis=0)
    assert tuned > 0.04 and abs(nested) < 0.02


def test_one_fold_is_cut_into_parts_that_do_not_depend_on_the_order():
    rng = np.random.default_rng(1)
    ids = [f"{i:03}" for i in range(50)]
    scores = rng.random((50, 5, 3)).astype(np.float32)
    order = rng.permutation(50)
    one = choose(ids, scores, np.full(50, 3), GRID)
    other = choose([ids[i] for i in order], scores[order], np.full(50, 3), GRID)
    assert one.nested_over == "5 parts of one fold" and one.nested.images == 50
    assert one.nested.mean == pytest.approx(other.nested.mean) and one.nested.mean < one.tuned.mean


def test_a_single_image_has_no_error_and_no_nested_estimate():
    chosen = choose(["a"], np.ones((1, 5, 3)), [0], GRID)
    assert chosen.nested is None and chosen.plain == MeanScore(1.0, None, 1) and str(chosen.plain) == "1.0000"
    assert str(MeanScore(0.81234, 0.00456, 9)) == "0.8123 ± 0.0046"
    with pytest.raises(SegfoldError, match="train a fold"):
        choose([], np.empty((0, 5, 3)), [], GRID)


def test_no_image_is_scored_by_parts_where_the_runs_share_no_folds():
    scores = np.random.default_rng(0).random((20, 5, 3)).astype(np.float32)
    chosen = choose([str(i) for i in range(20)], scores, None, GRID)
    assert chosen.nested is None and "share no folds" in chosen.nested_over
    assert chosen.tuned == choose([str(i) for i in range(20)], scores, np.arange(20) % 4, GRID).tuned


def fixed_choice(scores, folds, grid, t_fixed, a_fixed):
    """Choice and nested scores by loops over what is left open: the simplest of the best."""

    def best(rows):
        means = {
            (t, a): np.mean([float(x) for x in scores[rows, t, a]])
            for t, value in enumerate(grid.thresholds)
            for a, area in enumerate(grid.areas)
            if t_fixed in (None, value) and a_fixed in (None, area)
        }
        top = max(means.values()) - 1e-7
        open_ = [at for at, mean in means.items() if mean >= top]
        return min(open_, key=lambda at: (round(abs(grid.thresholds[at[0]] - 0.5), 9), grid.areas[at[1]], at[0]))

    nested = [float(scores[i][best(np.flatnonzero(folds != folds[i]))]) for i in range(len(scores))]
    t, a = best(np.arange(len(scores)))
    return (grid.thresholds[t], grid.areas[a]), np.mean([float(x) for x in scores[:, t, a]]), np.mean(nested)


@pytest.mark.parametrize(("t", "a"), [(0.35, None), (None, 30), (0.35, 30), (None, None), (0.5, None), (None, 0)])
def test_what_is_fixed_is_chosen_and_nested_by_the_rules_of_the_free_choice(t, a):
    """Scores of few levels, so that many cells are equal."""
    rng = np.random.default_rng(4)
    grid = Grid.of(largest=60, pixels=10000, threshold=t, min_area=a)
    shape = len(grid.thresholds), len(grid.areas)
    scores, folds = (rng.integers(0, 3, (12, *shape)) / 2).astype(np.float32), np.arange(12) % 3
    chosen = choose([str(i) for i in range(12)], scores, folds, grid)
    expected, tuned, nested = fixed_choice(scores, folds, grid, t, a)
    assert (chosen.threshold, chosen.min_area) == expected
    assert chosen.tuned.mean == pytest.approx(tuned) and chosen.nested.mean == pytest.approx(nested)
    assert chosen.nested_over == "3 folds"


@pytest.mark.parametrize(
    ("threshold", "min_area", "message"),
    [
        (0.0, None, "--threshold 0.0: expected a probability"),
        (float("nan"), None, "--threshold nan: expected"),
        (1.01, None, "--threshold 1.01: expected"),
        (None, -1, "--min-area -1: expected 0 to 900 pixels"),
        (None, 10**12, "expected 0 to 900 pixels, the size of the largest image"),
    ],
)
def test_what_no_mask_can_be_made_with_is_refused(threshold, min_area, message):
    with pytest.raises(SegfoldError, match=message):
        Grid.of(50, 900, threshold, min_area)


@pytest.mark.parametrize("threshold", [0.5, 0.5000001, 0.4999999, 1e-9, 1.0])
def test_a_fixed_threshold_of_the_code_of_another_is_one_threshold(threshold):
    grid = Grid.of(50, 900, threshold=threshold)
    codes = [threshold_code(value) for value in grid.thresholds]
    assert codes == sorted(set(codes)) and codes[grid.plain[0]] == HALF
    assert [grid.thresholds[row] for row in np.flatnonzero(grid.allowed.any(axis=1))] == [threshold]
    Sweep(codes, grid.areas)


@pytest.mark.parametrize("largest", [0, 1, 99, 100, 101, 137, 4900, 10201, 2048**2, 12_000_000])
def test_the_areas_that_are_tried_grow_with_the_masks_and_their_number_does_not(largest):
    areas = areas_up_to(largest)
    assert set(AREAS) <= set(areas) and areas == sorted(set(areas)) and len(areas) <= len(AREAS) + LARGER_AREAS
    assert areas[-1] <= max(largest, 100) and areas[-1] >= 0.9 * largest
    # Even steps: none is more than twice as far from the last as it must be.
    step = max(largest, 100) ** (1 / LARGER_AREAS) / 100 ** (1 / LARGER_AREAS)
    assert all(b / a <= 1.2 * step for a, b in pairwise(areas) if a >= 100)


def blobs(size):
    """Five images without an object, predicted as a blob of ``size``², and five of 70×70 found exactly."""
    blended, truth = [], {}
    for n in range(10):
        codes = np.full((1, 101, 101), 1000, np.uint16)
        side = size if n < 5 else 70
        codes[0, 10 : 10 + side, 20 : 20 + side] = 60000
        truth[str(n)] = (codes[0] > HALF) & (n >= 5)
        blended.append((str(n), codes))
    return blended, truth


@pytest.mark.parametrize(("size", "expected"), [(9, 1.0), (12, 1.0), (40, 1.0), (66, 1.0)])
def test_blobs_of_any_size_below_that_of_the_objects_are_removed(size, expected):
    blended, truth = blobs(size)
    grid = Grid.of(largest=max(int(mask.sum()) for mask in truth.values()), pixels=101**2)
    ids, scores = grid_scores(blended, truth.__getitem__, METRICS["precision"], grid)
    chosen = choose(ids, scores, [int(name) % 5 for name in ids], grid)
    assert chosen.plain.mean == 0.5 and chosen.tuned.mean == chosen.nested.mean == expected
    assert size**2 < chosen.min_area <= 4900 and chosen.at_edge == (("min_area",) if size == 66 else ())


def test_a_choice_at_an_end_of_the_grid_says_so():
    def at(t, a, grid=GRID):
        scores = np.zeros((6, len(grid.thresholds), len(grid.areas)), np.float32)
        scores[:, t, a] = 1
        return choose(list("abcdef"), scores, [0, 1] * 3, grid).at_edge

    assert at(2, 0) == at(2, 1) == at(1, 1) == ()
    assert at(0, 0) == at(4, 1) == ("threshold",) and at(2, 2) == ("min_area",)
    assert at(0, 2) == ("threshold", "min_area")
    one = Grid.of(50, 900, threshold=0.3)
    assert at(0, 2, one) == () and at(0, len(one.areas) - 1, one) == ("min_area",)


def test_scores_are_held_once():
    """Beside what is returned, a search holds a share of it, however many images there are."""
    import tracemalloc

    grid = Grid.of(largest=10**6, pixels=10**6)
    codes, mask = np.zeros((1, 4, 4), np.uint16), np.zeros((4, 4), np.uint8)
    tracemalloc.start()
    try:
        _, scores = grid_scores(((str(n), codes) for n in range(3000)), lambda _: mask, METRICS["precision"], grid)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert scores.shape == (3000, len(grid.thresholds), len(grid.areas))
    assert peak < 1.7 * scores.nbytes
