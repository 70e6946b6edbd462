"""The nested estimate: honest where the tuned one flatters."""

import numpy as np
import pytest

from segfold.ensemble import ScoreSums, nested
from segfold.ensemble.nested import parts_of
from segfold.metrics import METRICS

MEAN = METRICS["iou"]()  # of scores that are given


def best_of(scores: np.ndarray) -> int:
    return int(scores.mean(axis=0).argmax())


def test_each_part_is_scored_by_what_was_fitted_on_the_others() -> None:
    seen: list[tuple[list[str], str]] = []
    found = nested(lambda others: list(others), lambda choice, part: seen.append((choice, part)) or len(choice), "abcd")
    assert seen == [(list("bcd"), "a"), (list("acd"), "b"), (list("abd"), "c"), (list("abc"), "d")]
    assert found == [3, 3, 3, 3]
    with pytest.raises(ValueError, match="1 parts: expected two or more"):
        nested(len, lambda choice, part: choice, ["a"])


def test_the_best_of_twenty_recipes_of_noise_is_no_better_than_any() -> None:
    """500 times: 20 recipes of independent noise on 400 images in 5 folds. The truth of each is 0."""
    rng = np.random.default_rng(0)
    tuned, honest = [], []
    for _ in range(500):
        scores = rng.standard_normal((400, 20))
        parts = [scores[fold::5] for fold in range(5)]
        sums = nested(
            lambda others: best_of(np.concatenate(others)),
            lambda choice, part: ScoreSums.of(part[:, choice, None]),
            parts,
        )
        chosen = ScoreSums.of(scores[:, best_of(scores), None]).score(MEAN)
        tuned.append(chosen.mean / chosen.standard_error)
        estimate = sum(sums, ScoreSums()).score(MEAN)
        assert estimate.images == 400
        honest.append(estimate.mean / estimate.standard_error)
    assert np.mean(tuned) > 1 and 1.7 < np.mean(tuned) < 2.1  # the expected largest of 20 standard normals is 1.87
    assert abs(np.mean(honest)) < 0.2


def test_parts_are_the_folds_where_there_are_enough() -> None:
    ids = [f"{i:03}" for i in range(60)]
    part, named = parts_of(ids, np.arange(60) % 3 + 4)
    assert named == "3 folds" and part.tolist() == [0, 1, 2] * 20
    part, named = parts_of(ids, np.arange(60) % 2)
    assert named == "5 parts of 2 folds" and np.bincount(part, minlength=5).min() >= 5
    part, named = parts_of(ids, np.full(60, 3))
    assert named == "5 parts of one fold" and np.bincount(part).min() >= 5


def test_parts_do_not_depend_on_the_order_of_the_images() -> None:
    ids = [f"{i:03}" for i in range(50)]
    order = np.random.default_rng(1).permutation(50)
    for folds in (np.full(50, 3), np.arange(50) % 2):
        part, _ = parts_of(ids, folds)
        again, _ = parts_of([ids[i] for i in order], folds[order])
        np.testing.assert_array_equal(again, part[order])


def test_sums_add_up_to_numpys_mean_and_error() -> None:
    scores = np.random.default_rng(2).random(30)
    found = sum((ScoreSums.of(part[:, None]) for part in np.split(scores, [7, 8, 20])), ScoreSums()).score(MEAN)
    assert found.mean == pytest.approx(scores.mean()) and found.images == 30
    assert found.standard_error == pytest.approx(scores.std(ddof=1) / np.sqrt(30))
    assert str(found) == f"{scores.mean():.4f} ± {scores.std(ddof=1) / np.sqrt(30):.4f}"
    alone = ScoreSums.of(np.array([[0.5]])).score(MEAN)
    assert alone.standard_error is None and str(alone) == "0.5000"
    assert ScoreSums.of(np.full((9, 1), 0.1)).score(MEAN).standard_error == pytest.approx(0, abs=1e-9)
