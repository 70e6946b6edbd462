"""Free weights: as good as those of a fine grid, the same again, and no more members than it takes."""

from pathlib import Path

import numpy as np
import pytest

from oof_sets import BINARY, THREE, TWO, oof_set, stored
from segfold.ensemble import combination
from segfold.ensemble.disputed import Disputed
from segfold.ensemble.greedy import greedy
from segfold.ensemble.simplex import simplex

GRID = [(a, b, 50 - a - b) for a in range(51) for b in range(51 - a)]
"""Weights of three members .02 apart."""

SETS = [
    (BINARY, "precision", "mean", [0.4, 0.5, 0.6]),
    (BINARY, "precision", "mean", [0.5, 0.5, 0.5]),
    (BINARY, "iou", "logits", [0.3, 0.5, 0.7]),
    (BINARY, "global_dice", "rank", [0.5, 0.55, 0.6]),
    (TWO, "dice", "geometric", [0.2, 0.6, 0.4]),
    (THREE, "miou", "mean", [0.4, 0.5, 0.6]),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("task", "metric", "name", "noise"), SETS)
def test_it_is_as_good_as_a_grid(tmp_path: Path, task, metric, name, noise, seed) -> None:  # type: ignore[no-untyped-def]
    made = oof_set(tmp_path, task, metric, 3, 60, noise.__getitem__, seed, [(16, 16)])
    averaged = combination(name, made.members, made.ids, task)
    scored = Disputed.of(made.members, made.ids, made.images, averaged)
    found = simplex(scored, seed=seed)
    assert made.score(found, averaged) >= max(scored.score(weights) for weights in GRID) - 0.0005
    assert made.score(found, averaged) == pytest.approx(scored.score(found), abs=1e-7)


def test_many_members_gain_on_every_start_and_the_search_finds_the_same_again(tmp_path: Path) -> None:
    made = oof_set(tmp_path, metric="iou", members=8, noise=lambda member: 0.5 + member / 20, sides=[(24, 24)])
    scored = Disputed.of(made.members, made.ids, made.images)
    found = simplex(scored)
    starts = [np.ones(8), *np.eye(8), greedy(scored)]
    assert scored.score(found) > max(scored.score(each) for each in starts)
    assert simplex(scored) == found
    assert len(found) == 8 and min(found) >= 0
    assert sum(found) == pytest.approx(1) or set(found) == {0.0, 1.0}


def test_no_small_exchange_scores_more(tmp_path: Path) -> None:
    made = oof_set(tmp_path, metric="iou", members=8, noise=lambda member: 0.5, sides=[(24, 24)])
    scored = Disputed.of(made.members, made.ids, made.images)
    found = [round(100 * weight) for weight in simplex(scored, restarts=0)]
    for giver in range(8):
        if found[giver]:
            takers = [member for member in range(8) if member != giver]
            steps = [step for step in (1, 2, 4, 8) if step <= found[giver]]
            assert scored.exchanged(found, giver, takers, steps).max() <= scored.score(found)


def test_only_the_given_images_are_chosen_on(tmp_path: Path) -> None:
    made = oof_set(tmp_path, count=12)
    scored = Disputed.of(made.members, made.ids, made.images)
    for part in range(3):
        rows = scored.rows_of([part])
        found = simplex(scored, rows)
        assert scored.score(found, rows) >= max(scored.score(weights, rows) for weights in GRID[::20])


def test_of_equal_scores_it_takes_the_fewest_members_and_then_equal_weights(tmp_path: Path) -> None:
    made = oof_set(tmp_path)
    truth = [made.images.truth(name)[None] for name in made.ids]
    right = [stored(tmp_path, f"right{k}", made.ids, [mask * np.uint16(40000 + k) for mask in truth]) for k in range(3)]
    assert sorted(simplex(Disputed.of([*made.members, *right], made.ids, made.images))) == [0.0] * 5 + [1.0]
    # Each of two misses what the other sees; a pixel counts where their mean does.
    halves = [[mask * np.uint16(65535) * (np.indices(mask.shape)[1] % 2 == k) for mask in truth] for k in range(2)]
    members = [stored(tmp_path, f"half{k}", made.ids, halves[k]) for k in range(2)]
    assert simplex(Disputed.of(members, made.ids, made.images)) == [1.0, 1.0]


def test_one_member_has_all_the_weight(tmp_path: Path) -> None:
    made = oof_set(tmp_path, members=1)
    assert simplex(Disputed.of(made.members, made.ids, made.images)) == [1.0]


def test_only_the_members_that_may_weigh_anything_do(tmp_path: Path) -> None:
    """What is found among some members is what is found where there are no others."""
    made = oof_set(tmp_path, members=4)
    among = simplex(Disputed.of(made.members, made.ids, made.images), among=[2, 1])
    assert among[0] == among[3] == 0
    some = Disputed.of(made.members[1:3], made.ids, made.images)
    assert some.score(among[1:3]) == some.score(simplex(some))
