"""What is chosen on out-of-fold predictions, which steps stay, and what the choice is said to score."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats

from segfold.ensemble.axes import SWEPT, THRESHOLD, Axis, fixed_step, step_axis, threshold_axis
from segfold.ensemble.blend import Blended
from segfold.ensemble.evidence import Images, decision_sums
from segfold.ensemble.search import Search, _Chosen
from segfold.ensemble.table import Table, score_table
from segfold.ensemble.wanted import Wanted
from segfold.errors import SegfoldError
from segfold.metrics import METRICS
from segfold.post import Decision, MaskSizes
from segfold.post.threshold import threshold_code
from segfold.store.codes import HALF, to_codes
from store_samples import smooth

SIZES = MaskSizes(101**2, 3000)


def score_of(mask: np.ndarray, truth: np.ndarray) -> float:
    """The metric from its definition, with Python integers only."""
    p, t = int((mask > 0).sum()), int((truth > 0).sum())
    if not p and not t:
        return 1.0
    inter = int(((mask > 0) & (truth > 0)).sum())
    return sum(20 * inter > (p + t - inter) * (10 + k) for k in range(10)) / 10 if p and t else 0.0


def made(count: int = 12, parts: int = 3, size: int = 40, metric: str = "precision") -> Images:
    """Noisy predictions of smooth objects; every fourth image is empty, and of a single value."""
    blended, truth, pixels = [], {}, {}
    for number in range(count):
        name, rng = f"i{number:02}", np.random.default_rng(number)
        codes = smooth(number, size)
        truth[name] = ((codes > 36000) & (number % 4 > 0)).astype(np.uint8)
        pixels[name] = np.full((size, size, 1), 9, np.uint8) if number % 4 == 0 else codes[:, :, None]
        noisy = (codes.astype(float) + rng.normal(0, 9000, codes.shape)).clip(0, 65535).astype(np.uint16)
        blended.append(Blended(name, noisy[None], int(to_codes(rng.random() / 2 + (number % 4 > 0) / 2))))
    part = {each.id: number % parts for number, each in enumerate(blended)}
    return Images(lambda: iter(blended), truth.__getitem__, pixels.__getitem__, part, METRICS[metric]())


def by_hand(images: Images, decision: Decision) -> list[list[float]]:
    """The scores of a decision's masks, by part."""
    found: list[list[float]] = [[] for _ in range(images.parts)]
    for each in images.blended():
        mask = decision(each.codes[0], images.seen(each))
        found[images.part[each.id]].append(score_of(mask, images.truth(each.id)))
    return found


def axes(*steps: str) -> list[Axis]:
    swept = Axis(SWEPT, [None, {"min_area": 10}, {"min_area": 40}], (0, 1, 2), 0)
    thresholds = Axis(THRESHOLD, [0.4, 0.5, 0.62], (0, 1, 2), 1)
    return [thresholds, swept, *(step_axis(name, SIZES) for name in steps)]


def test_the_table_holds_the_scores_of_the_masks_that_would_be_submitted() -> None:
    images = made()
    table = score_table(images, axes("gate", "constant", "smooth"))
    assert [axis.name for axis in table.axes] == ["smooth", "gate", "constant", THRESHOLD, SWEPT]
    search = Search(images, axes("gate", "constant", "smooth"), table)
    rng = np.random.default_rng(0)
    different = set()
    for _ in range(40):
        at = tuple(int(rng.integers(len(axis.values))) for axis in table.axes)
        decision = search.decision(search_at(at))
        for part, scores in enumerate(by_hand(images, decision)):
            sums = table.sums(at, part)
            assert sums.images == len(scores) == 4
            assert sums.total == pytest.approx(sum(scores), abs=1e-6)
            assert sums.moments == pytest.approx(sum(score**2 for score in scores), abs=1e-6)
            different.add(round(float(sums.total[0]), 6))
    assert len(different) > 10


def search_at(at: tuple[int, ...]) -> _Chosen:
    return _Chosen(at)


def test_whole_decisions_are_scored_by_part() -> None:
    images = made()
    decisions = [
        Decision.of(0.4, steps)
        for steps in (
            {},
            {"holes": {"max_area": 20}},
            {"components": {"min_area": 20}, "holes": {"max_area": 20}},
            {"components": {"min_area": 20}, "holes": {"max_area": 20}, "largest": {"count": 1}},
            {"smooth": {"sigma": 1.0}, "gate": {"least": 0.5}, "holes": {"max_area": 20}},
        )
    ]
    found = decision_sums(images, decisions)
    assert list(found) == decisions
    for decision in decisions:
        for sums, scores in zip(found[decision], by_hand(images, decision)):
            assert sums.total == pytest.approx(sum(scores), abs=1e-6) and sums.images == len(scores)
    assert len({round(sum(float(each.total[0]) for each in sums), 6) for sums in found.values()}) >= 4


@pytest.mark.parametrize("name", ["precision", "iou", "dice"])
def test_any_metric_is_taken(name: str) -> None:
    images = made(metric=name)
    table = score_table(images, axes())
    plain = [table.sums((1, 0), part) for part in range(3)]
    expected = []
    for each in images.blended():
        mask, truth = each.codes[0] >= HALF, images.truth(each.id) > 0
        p, t, inter = mask.sum(), truth.sum(), (mask & truth).sum()
        both = {"iou": inter / max(p + t - inter, 1), "dice": 2 * inter / max(p + t, 1)}
        expected.append(score_of(mask, truth) if name == "precision" else 1.0 if p + t == 0 else both[name])
    assert sum(sums.total for sums in plain) == pytest.approx(sum(expected), abs=1e-5)


def test_another_size_is_refused() -> None:
    images = Images(
        lambda: [Blended("a", np.zeros((1, 4, 4), np.uint16), None)],
        lambda _: np.zeros((4, 5)),
        lambda _: np.zeros((4, 5, 1)),
        {"a": 0},
        METRICS["iou"](),
    )
    for scored in (lambda: score_table(images, axes()), lambda: decision_sums(images, [Decision()])):
        with pytest.raises(SegfoldError, match="image a: predicted"):
            scored()


def test_memory_does_not_grow_with_the_images() -> None:
    import tracemalloc

    codes, mask = np.zeros((1, 4, 4), np.uint16), np.zeros((4, 4), np.uint8)
    peaks = []
    for count in (200, 2000):
        ids = [str(number) for number in range(count)]
        part = dict.fromkeys(ids, 0)
        images = Images(
            lambda ids=ids: (Blended(name, codes, 7) for name in ids),
            lambda _: mask,
            lambda _: codes[0],
            part,
            METRICS["iou"](),
        )
        score_table(images, axes("gate"))  # what is made once
        tracemalloc.start()
        try:
            score_table(images, axes("gate"))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 50_000


# The choice, on scores that are given


GRID = [
    Axis(THRESHOLD, [0.4, 0.45, 0.5, 0.55, 0.6], tuple(range(5)), 2),
    Axis(SWEPT, [None, {"min_area": 5}, {"min_area": 10}], (0, 1, 2), 0),
]


def table_of(scores: np.ndarray, part: Sequence[int], given: Sequence[Axis]) -> Table:
    part = np.asarray(part)
    rows = [part == number for number in range(part.max() + 1)]
    exact = np.asarray(scores, np.float32).astype(float)
    return Table(
        given,
        np.array([exact[inside].sum(axis=0) for inside in rows])[..., None],
        np.array([(exact[inside] ** 2).sum(axis=0) for inside in rows])[..., None, None],
        np.array([inside.sum() for inside in rows]),
        METRICS["iou"](),
    )


def chosen(scores: np.ndarray, part: Sequence[int], given: Sequence[Axis] = GRID, has_parts: bool = True) -> Any:
    """The choice for N×T×A scores; what is never better by the nested score is never chosen."""
    return Search(None, given, table_of(scores, part, given), has_parts).fitted("these")  # type: ignore[arg-type]


def test_the_best_is_chosen_where_it_is_better_for_everybody() -> None:
    scores = np.random.default_rng(0).random((40, 5, 3)).astype(np.float32)
    scores[:, 3, 0] += 0.6
    scores[:, 3, 1] += 0.9
    found = chosen(scores, np.arange(40) % 4)
    assert found.decision == Decision.of(0.55, {"components": {"min_area": 5}})
    assert found.scores.plain.mean == pytest.approx(scores[:, 2, 0].mean())
    assert found.scores.plain.standard_error == pytest.approx(scipy.stats.sem(scores[:, 2, 0].astype(float)))
    assert found.scores.tuned.mean == pytest.approx(scores[:, 3, 1].mean()) and found.scores.tuned.images == 40
    assert found.scores.nested.mean == pytest.approx(found.scores.tuned.mean)  # every part chooses the same here
    assert [(trial.name, trial.kept) for trial in found.scores.trials] == [("threshold", True), ("components", True)]
    assert found.scores.trials[0].setting == 0.55 and found.scores.trials[1].setting == {"min_area": 5}
    assert found.scores.trials[0].tuned.mean == pytest.approx(scores[:, 3, 0].mean())
    assert found.scores.nested_over == "these" and found.scores.at_edge == ()


def test_what_is_better_only_as_tuned_is_left_out() -> None:
    """Each fold likes another threshold, and none is better for the others."""
    scores = np.full((6, 5, 3), 0.5, np.float32)
    for part, row in ((0, 0), (1, 1), (2, 4)):
        scores[part::3, row, 0] = 0.9
        scores[(part + 1) % 3 :: 3, row, 0] = 0.2
        scores[(part + 2) % 3 :: 3, row, 0] = 0.43
    found = chosen(scores, np.arange(6) % 3)
    (trial, _) = found.scores.trials
    assert trial.tuned.mean > 0.5 > trial.nested.mean and not trial.kept
    assert found.decision == Decision() and found.scores.tuned == found.scores.plain
    assert found.scores.nested.mean == 0.5


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ([(0, 0), (3, 2)], (0.55, {"min_area": 10})),
        ([(1, 2), (1, 1)], (0.45, {"min_area": 5})),
        ([(3, 1), (1, 1)], (0.45, {"min_area": 5})),
        ([(4, 0), (3, 1)], (0.55, {"min_area": 5})),
    ],
)
def test_the_simplest_of_equals_is_chosen(ties: list[tuple[int, int]], expected: tuple[float, dict[str, int]]) -> None:
    """Equal up to rounding: the means are of the same scores in another order."""
    rng = np.random.default_rng(1)
    values = rng.integers(3, 11, 500) / 10
    scores = np.zeros((500, 5, 3), np.float32)
    for t, a in ties:
        scores[:, t, a] = rng.permutation(values)
    found = chosen(scores, np.zeros(500, int), has_parts=False)
    assert found.decision == Decision.of(expected[0], {"components": expected[1]})
    assert found.scores.nested is None and found.scores.trials == ()


def test_rounding_of_the_scores_breaks_no_tie() -> None:
    """0.1 + 0.2 + 0.9 = 3 × 0.4, but not in single precision."""
    scores = np.zeros((3, 5, 3), np.float32)
    scores[:, 2, 0] = 0.1, 0.2, 0.9
    scores[:, 1, 0] = 0.4
    assert scores[:, 2, 0].sum(dtype=float) < scores[:, 1, 0].sum(dtype=float)
    assert chosen(scores, [0, 0, 0], has_parts=False).decision == Decision()


def greedy(scores: np.ndarray, part: np.ndarray, given: Sequence[Axis]) -> tuple[tuple[int, int], float]:
    """The choice and its nested score by loops: what stays is found by the nested score on the parts at hand."""

    def best(rows: np.ndarray, names: tuple[str, ...]) -> tuple[int, int]:
        ts, As = (axis.open if axis.name in names or axis.fixed else (axis.rest,) for axis in given)
        means = {(t, a): scores[rows, t, a].astype(float).mean() for t in ts for a in As}
        top = max(means.values()) - 1e-7
        near = {at: (round(abs(given[0].values[at[0]] - 0.5), 9), at[1], at[0]) for at in means if means[at] >= top}
        return min(near, key=near.__getitem__)

    def nested_scores(parts: list[int], choose: Callable[[list[int]], tuple[int, int]]) -> np.ndarray:
        found = [scores[(part == p, *choose([q for q in parts if q != p]))] for p in parts]
        return np.concatenate(found).astype(float)

    def fit(parts: list[int]) -> tuple[int, int]:
        names: tuple[str, ...] = ()
        score = nested_scores(parts, lambda rest: best(np.isin(part, rest), names))
        for axis in given:
            with_it = (*names, axis.name)
            found = nested_scores(parts, lambda rest, with_it=with_it: best(np.isin(part, rest), with_it))
            if not axis.fixed and found.mean() > score.mean() + 0.1 * scipy.stats.sem(score):
                names, score = with_it, found
        return best(np.isin(part, parts), names)

    everything = sorted(set(part.tolist()))
    return fit(everything), float(nested_scores(everything, fit).mean())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("t", "a"), [(None, None), (0.35, None), (None, 30), (0.35, 30), (0.5, None), (None, 0)])
def test_what_is_fixed_is_chosen_and_nested_by_the_rules_of_the_free_choice(seed: int, t: Any, a: Any) -> None:
    """Scores of few levels, so that many cells are equal."""
    rng = np.random.default_rng(seed)
    given = Wanted(threshold=t, min_area=a, steps=[SWEPT]).axes(MaskSizes(10000, 60), has_gate=False)
    shape = [len(axis.values) for axis in given]
    scores, part = (rng.integers(0, 3, (24, *shape)) / 2).astype(np.float32), np.arange(24) % 4
    scores[:, rng.integers(shape[0]), rng.integers(shape[1])] += 0.25
    found = chosen(scores, part, given)
    (row, column), nested = greedy(scores, part, given)
    settings = given[1].values[column]
    assert found.decision == Decision.of(given[0].values[row], {} if settings is None else {"components": settings})
    assert found.scores.tuned.mean == pytest.approx(scores[:, row, column].astype(float).mean())
    assert found.scores.nested.mean == pytest.approx(nested)


def test_a_gain_that_chance_explains_is_no_gain() -> None:
    """All parts agree on .55, by ever so little: a twentieth of the standard error, then a fifth."""
    scores = np.repeat(np.random.default_rng(0).random((90, 1, 1)), 15, axis=1).reshape(90, 5, 3)
    error = scipy.stats.sem(scores[:, 2, 0])
    for gain, threshold in ((0.05, 0.5), (0.2, 0.55)):
        better = scores.copy()
        better[:, 3, 0] += gain * error
        found = chosen(better, np.arange(90) % 3)
        assert found.decision.threshold == threshold and found.scores.trials[0].setting == 0.55


def test_the_whole_choice_is_honest_on_noise() -> None:
    """Pure noise has nothing to tune: tuned flatters itself, nested does not, though it was asked what stays."""
    rng = np.random.default_rng(0)
    tuned, nested = [], []
    for _ in range(200):
        found = chosen(rng.standard_normal((60, 5, 3)) / 4, np.arange(60) % 5)
        tuned.append(found.scores.tuned.mean / found.scores.tuned.standard_error)
        nested.append(found.scores.nested.mean / found.scores.nested.standard_error)
    assert np.mean(tuned) > 0.5 and abs(np.mean(nested)) < 0.2


def test_a_choice_at_an_end_of_the_grid_says_so() -> None:
    def at(t: int, a: int, given: Sequence[Axis] = GRID) -> tuple[str, ...]:
        scores = np.zeros((6, len(given[0].values), len(given[1].values)), np.float32)
        scores[:, t, a] = 1
        return tuple(chosen(scores, [0, 1, 2] * 2, given, has_parts=False).scores.at_edge)

    assert at(2, 0) == at(2, 1) == at(1, 1) == ()
    assert at(0, 0) == at(4, 1) == ("threshold",) and at(2, 2) == ("components",)
    assert at(0, 2) == ("threshold", "components")
    one = Wanted(threshold=0.3, steps=[SWEPT]).axes(MaskSizes(900, 50), has_gate=False)
    assert at(0, 2, one) == () and at(0, len(one[1].values) - 1, one) == ("components",)


def test_steps_of_masks_are_chosen_on_what_stayed_before_them() -> None:
    """Objects with a hole that the truth does not have, and specks beside them."""
    truth = np.zeros((40, 40), np.uint8)
    truth[5:30, 5:30] = 1
    codes = truth.astype(np.uint16) * 60000
    codes[10:14, 10:14] = 0
    codes[35:38, 35:38] = 60000
    blended = [Blended(str(number), codes[None], None) for number in range(9)]
    part = {each.id: int(each.id) % 3 for each in blended}
    images = Images(lambda: iter(blended), lambda _: truth, lambda _: truth[:, :, None], part, METRICS["iou"]())
    given = [threshold_axis(0.5), step_axis(SWEPT, SIZES), step_axis("holes", SIZES), step_axis("largest", SIZES)]
    found = Search(images, given, score_table(images, given)).fitted("3 folds")
    # The smallest settings that do it; of one object there is then nothing left to choose.
    assert found.decision.settings == {"components": {"min_area": 10}, "holes": {"max_area": 120}}
    assert found.scores.tuned.mean == found.scores.nested.mean == 1 and found.scores.plain.mean < 1
    assert [(trial.name, trial.kept) for trial in found.scores.trials] == [
        ("components", True),
        ("holes", True),
        ("largest", False),
    ]
    given = [threshold_axis(0.5), fixed_step(SWEPT, None), step_axis("holes", SIZES), step_axis("largest", SIZES)]
    found = Search(images, given, score_table(images, given)).fitted("3 folds")
    assert set(found.decision.settings) == {"holes", "largest"} and found.scores.nested.mean == 1


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"threshold": 0.0}, "--threshold 0.0: expected a probability"),
        ({"threshold": float("nan")}, "--threshold nan: expected"),
        ({"threshold": 1.01}, "--threshold 1.01: expected"),
        ({"min_area": -1}, "--min-area -1: expected 0 to 900 pixels"),
        ({"min_area": 10**12}, "expected 0 to 900 pixels, the size of the largest image"),
        ({"gate": 1.5}, "--gate 1.5: expected a probability, 0 for no gate"),
        ({"gate": 0.5}, "--gate 0.5: no run has an image head"),
        ({"steps": ["hole"]}, "--steps hole: no post step of that name; did you mean holes"),
    ],
)
def test_what_no_mask_can_be_made_with_is_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(SegfoldError, match=message):
        Wanted(**wanted).axes(MaskSizes(900, 50), has_gate=wanted.get("gate") == 1.5)


def test_what_is_wanted_is_tried() -> None:
    def names(has_gate: bool = True, **wanted: Any) -> dict[str, int]:
        return {axis.name: len(axis.open) for axis in Wanted(**wanted).axes(SIZES, has_gate)}

    everything = names()
    assert list(everything) == ["threshold", "components", "gate", "constant", "smooth", "holes", "largest"]
    assert everything["threshold"] == 61 and everything["gate"] == 20 and everything["constant"] == 2
    assert "gate" not in names(has_gate=False)
    assert names(steps=[]) == {"threshold": 61, "components": 1}
    assert names(steps=["crf"]) == {"threshold": 61, "components": 1, "crf": 5}  # too costly to be tried unasked
    assert names(steps=["holes"], gate=0.3) == {"threshold": 61, "components": 1, "gate": 1, "holes": 4}
    fixed = {axis.name: axis for axis in Wanted(gate=0.3, min_area=0).axes(SIZES, True)}
    assert fixed["gate"].values[fixed["gate"].rest] == {"least": 0.3}
    assert fixed["components"].values[fixed["components"].rest] is None


@pytest.mark.parametrize("threshold", [0.5, 0.5000001, 0.4999999, 1e-9, 1.0])
def test_a_fixed_threshold_of_the_code_of_another_is_one_threshold(threshold: float) -> None:
    axis = threshold_axis(threshold)
    codes = [threshold_code(value) for value in axis.values]
    assert codes == sorted(set(codes)) and codes[axis.plain] == HALF
    assert [axis.values[i] for i in axis.open] == [threshold]
