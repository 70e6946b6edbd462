"""Greedy selection against brute force on the real blend; bags, budgets, and when it ends."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest

from oof_sets import BINARY, THREE, TWO, OofSet, oof_set, stored
from segfold.ensemble import combination
from segfold.ensemble.disputed import Disputed
from segfold.ensemble.greedy import PATIENCE, greedy
from segfold.errors import SegfoldError


def disputed(made: OofSet) -> Disputed:
    return Disputed.of(made.members, made.ids, made.images)


def counts_of(chosen: Sequence[int], members: int) -> list[int]:
    return np.bincount(chosen, minlength=members).tolist()


def by_brute_force(made: OofSet, steps: int, name: str) -> list[int]:
    """Every step blends all members anew, with each member added in turn."""
    averaged = combination(name, made.members, made.ids, made.images.task)
    count = len(made.members)
    chosen: list[int] = []
    scores = []
    for _ in range(steps):
        found = [round(made.score(counts_of([*chosen, more], count), averaged), 6) for more in range(count)]
        equals = [more for more in range(count) if found[more] == max(found)]
        chosen.append(next((more for more in equals if more in chosen), equals[0]))
        scores.append(max(found))
    return counts_of(chosen[: scores.index(max(scores)) + 1], count)


@pytest.mark.parametrize("name", ["mean", "geometric", "rank"])
@pytest.mark.parametrize(
    ("task", "metric"), [(BINARY, "precision"), (BINARY, "object_precision"), (TWO, "dice"), (THREE, "miou")]
)
def test_greedy_is_brute_force_step_by_step(tmp_path: Path, task, metric, name) -> None:  # type: ignore[no-untyped-def]
    made = oof_set(tmp_path, task, metric, members=4, noise=lambda member: 0.5, sides=[(20, 24)])
    averaged = combination(name, made.members, made.ids, task)
    found = greedy(Disputed.of(made.members, made.ids, made.images, averaged), steps=5)
    assert found == by_brute_force(made, 5, name)
    assert sum(found) > 1


def test_two_steps_are_the_best_pair_with_the_best_member(tmp_path: Path) -> None:
    for seed in range(4):
        made = oof_set(tmp_path / str(seed), members=3, noise=lambda member: 0.5, seed=seed)
        scored = disputed(made)
        found = greedy(scored, steps=2)
        best = max(range(3), key=lambda one: scored.score(np.eye(3)[one]))
        pairs = [counts_of(pair, 3) for pair in combinations_with_replacement(range(3), 2) if best in pair]
        assert made.score(found) == pytest.approx(max(made.score(pair) for pair in pairs))


def test_it_ends_after_some_steps_without_a_gain_and_keeps_the_shortest_selection(tmp_path: Path) -> None:
    """One member is right everywhere, so nothing can be added to it."""
    made = oof_set(tmp_path)
    right = [65535 * made.images.truth(name)[None].astype(np.uint16) for name in made.ids]
    members = [*made.members, stored(tmp_path, "right", made.ids, right)]
    calls: list[int] = []
    scored = Counting(Disputed.of(members, made.ids, made.images), calls)
    assert greedy(scored, steps=50) == [0, 0, 0, 1]  # type: ignore[arg-type]
    assert len(calls) == 1 + PATIENCE
    assert greedy(scored, steps=50, rows=np.arange(3)) == [0, 0, 0, 1]  # type: ignore[arg-type]


class Counting:
    """Passes on to what it is of, and notes what is asked of it."""

    def __init__(self, of: Disputed, calls: list[int]) -> None:
        self.of, self.calls, self.names = of, calls, of.names

    def exchanged(self, weights, giver, takers, steps, rows):  # type: ignore[no-untyped-def]
        self.calls.append(len(takers))
        return self.of.exchanged(weights, giver, takers, steps, rows)


def test_bags_are_seeded_halves_whose_counts_are_added_up(tmp_path: Path) -> None:
    made = oof_set(tmp_path, members=5, noise=lambda member: 0.5)
    calls: list[int] = []
    scored = Counting(disputed(made), calls)
    once = greedy(scored, steps=3, bags=6, seed=1)  # type: ignore[arg-type]
    assert set(calls) == {3} and 6 <= sum(once) <= 18
    assert greedy(scored, steps=3, bags=6, seed=1) == once  # type: ignore[arg-type]
    assert any(greedy(scored, steps=3, bags=6, seed=seed) != once for seed in range(2, 5))  # type: ignore[arg-type]
    assert sum(count > 0 for count in once) > sum(count > 0 for count in greedy(scored, steps=3))  # type: ignore[arg-type]


def test_only_the_given_images_are_chosen_on(tmp_path: Path) -> None:
    """Each member is right about the images of one part alone."""
    made = oof_set(tmp_path, count=12)
    ids, images = made.ids, made.images

    def member(part: int) -> list[np.ndarray]:
        shown = [images.truth(name) if images.part[name] == part else 1 - images.truth(name) for name in ids]
        return [np.where(mask > 0, 60000, 5000).astype(np.uint16)[None] for mask in shown]

    members = [stored(tmp_path, f"right{part}", ids, member(part)) for part in range(3)]
    scored = Disputed.of(members, ids, images)
    for part in range(3):
        assert greedy(scored, scored.rows_of([part])) == [int(other == part) for other in range(3)]


COSTS = [5.0, 1.0, 2.0, 3.0, 1.5, 9.0]


@pytest.mark.parametrize("bags", [1, 8])
@pytest.mark.parametrize("budget", [1.0, 2.4, 4.0, 6.5, 100.0])
def test_a_selection_never_takes_longer_than_its_budget(tmp_path: Path, budget: float, bags: int) -> None:
    made = oof_set(tmp_path, members=6, noise=lambda member: 0.5)
    scored = disputed(made)
    found = greedy(scored, steps=6, bags=bags, costs=COSTS, budget=budget)
    assert 0 < sum(cost for cost, count in zip(COSTS, found) if count) <= budget
    if budget == 100.0:
        assert found == greedy(scored, steps=6, bags=bags)


def test_within_a_budget_it_chooses_the_best_that_fits(tmp_path: Path) -> None:
    """The best member of all is too slow."""
    made = oof_set(tmp_path, noise=lambda member: [0.1, 0.5, 0.9][member])
    scored = disputed(made)
    assert greedy(scored, steps=1) == [1, 0, 0]
    assert greedy(scored, steps=1, costs=[3.0, 1.0, 1.0], budget=2.0) == [0, 1, 0]


def test_a_budget_that_no_member_fits_names_the_fastest(tmp_path: Path) -> None:
    scored = disputed(oof_set(tmp_path))
    with pytest.raises(SegfoldError, match=r"no run fits into 0\.5 seconds: the fastest, run1, takes 1; allow more"):
        greedy(scored, costs=[3.0, 1.0, 2.0], budget=0.5)
    for wrong in ({"costs": [1.0]}, {"budget": 1.0}, {"costs": [1.0], "budget": 1.0}, {"steps": 0}, {"bags": 0}):
        with pytest.raises(ValueError, match="expected"):
            greedy(scored, **wrong)  # type: ignore[arg-type]
