"""What is chosen for several classes, and for metrics of the whole set, against every choice there is."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from segfold.ensemble.axes import SWEPT, THRESHOLD, Axis
from segfold.ensemble.blend import Blended
from segfold.ensemble.choice import choose
from segfold.ensemble.evidence import Images, whole_sums
from segfold.ensemble.search import Search, _Chosen
from segfold.ensemble.table import Table, class_tables, score_table
from segfold.ensemble.wanted import Wanted
from segfold.errors import SegfoldError
from segfold.metrics import METRICS, Metric, build_metric
from segfold.post import Decision, Decisions, MaskSizes
from segfold.tasks import FOREGROUND, Multiclass, Multilabel, Task
from store_samples import smooth

PARTS, SIZE = 3, 24
ONE, TWO = Multilabel(("a",)), Multilabel(("a", "b"))


def made(task: Task, metric: Metric, count: int = 9) -> Images:
    """Noisy predictions of smooth objects; of classes by themselves, every third image has none."""
    blended, truth = [], {}
    for number in range(count):
        name, rng = f"i{number}", np.random.default_rng(number)
        base = np.stack([smooth(number + 50 * index, SIZE) for index in range(len(task.classes))]).astype(float)
        if task.exclusive:
            truth[name] = base.argmax(axis=0).astype(np.uint8)
            truth[name][:2, :5] = 255
        else:
            limits = np.array([34000, 42000])[: len(base), None, None]
            truth[name] = task.mask((base > limits) & (number % 3 > 0))
        codes = (base + rng.normal(0, 14000, base.shape)).clip(0, 65535).astype(np.uint16)
        blended.append(Blended(name, codes, int(rng.integers(65536))))
    part = {each.id: number % PARTS for number, each in enumerate(blended)}
    pixels = np.ones((SIZE, SIZE, 1), np.uint8)
    return Images(lambda: iter(blended), truth.__getitem__, lambda _: pixels, part, metric, task=task)


GRID = [
    Axis(THRESHOLD, [0.4, 0.5, 0.6], (0, 1, 2), 1),
    Axis(SWEPT, [None, {"min_area": 6}, {"min_area": 20}], (0, 1, 2), 0),
]
EVERY = [Decision.of(t, {"components": area} if area else {}) for t, area in product(GRID[0].values, GRID[1].values)]


def counts_of(images: Images, wanted: Decisions) -> np.ndarray:
    """N×C×3: found, predicted and true pixels."""
    task, rows = images.task, []
    for each in images.blended():
        truth = images.truth(each.id)
        pred = wanted(each.codes, images.seen(each))
        for_all = task.valid(truth)
        valid = np.ones(truth.shape, bool) if for_all is None else for_all
        planes = zip(task.planes(pred), task.planes(truth))
        rows.append([[(p & t & valid).sum(), (p & valid).sum(), (t & valid).sum()] for p, t in planes])
    return np.array(rows, float)


def scored(metric: Metric, counts: np.ndarray) -> float:
    """From their definitions."""
    inter, pred, true = np.moveaxis(counts, -1, 0)
    name = type(metric).__name__
    if name == "Dice":
        return float(np.where(pred + true > 0, 2 * inter / np.maximum(pred + true, 1), 1).mean())
    if name == "MeanIoU":
        inter, pred, true = inter.sum(axis=0), pred.sum(axis=0), true.sum(axis=0)
        return float((inter / (pred + true - inter)).mean())
    assert name == "GlobalDice" and not metric.macro  # type: ignore[attr-defined]
    return float(2 * inter.sum() / (pred + true).sum())


@pytest.mark.parametrize("name", ["dice", "miou"])
def test_each_class_gets_the_best_of_all_pairs_of_decisions(name: str) -> None:
    images = made(TWO, METRICS[name]())
    choice = choose(images, lambda index: GRID, "these", has_parts=False)
    pairs = {pair: scored(images.metric, counts_of(images, Decisions(TWO, pair))) for pair in product(EVERY, EVERY)}
    best = max(pairs, key=pairs.__getitem__)
    assert tuple(tried.fitted.decision for tried in choice.classes.values()) == best and choice.shared is None
    assert best[0] != best[1] and list(choice.classes) == ["a", "b"]
    assert choice.scores.tuned.mean == pytest.approx(pairs[best])
    assert choice.scores.plain.mean == pytest.approx(pairs[Decision(), Decision()])
    assert choice.scores.nested is None


def test_one_decision_is_chosen_for_a_score_that_mixes_the_classes() -> None:
    images = made(TWO, METRICS["global_dice"]())
    choice = choose(images, lambda index: GRID if index is None else [], "these", has_parts=False)
    every = {each: scored(images.metric, counts_of(images, Decisions(TWO, (each,)))) for each in EVERY}
    assert choice.shared is not None and not choice.classes
    assert choice.shared.fitted.decision == max(every, key=every.__getitem__) != Decision()
    assert choice.scores.tuned.mean == pytest.approx(max(every.values()))
    # A class alone is scored by its IoU over the set.
    counts = counts_of(images, Decisions(TWO, (choice.shared.fitted.decision,))).sum(axis=0)
    for (inter, pred, true), scores in zip(counts, choice.class_scores.values(), strict=True):
        assert scores.tuned.mean == pytest.approx(inter / (pred + true - inter))


@pytest.mark.parametrize("name", ["dice", "miou", "global_dice"])
def test_the_whole_is_nested_over_the_decisions_of_all_classes(name: str) -> None:
    """By hand: each class fits on the other parts, and what the classes make of each part is added up."""
    images = made(TWO, METRICS[name](), 18)
    choice = choose(images, lambda index: GRID, "these")
    if name == "global_dice":
        searches = [Search(images, GRID, score_table(images, GRID))]
    else:
        tables = class_tables(images, [GRID, GRID])
        searches = [Search(images.of_class(index), GRID, table) for index, table in enumerate(tables)]
    part = np.arange(18) % PARTS
    rows = np.zeros((18, 2, 3))
    for number in range(PARTS):
        each = tuple(search.fit([other for other in range(PARTS) if other != number]) for search in searches)
        rows[part == number] = counts_of(images, Decisions(TWO, each))[part == number]
    assert choice.scores.nested is not None and choice.scores.nested.images == 18
    assert choice.scores.nested.mean == pytest.approx(scored(images.metric, rows))
    assert choice.scores.nested_over == "these"
    for index, scores in enumerate(choice.class_scores.values()):
        metric = METRICS["miou"]() if name == "global_dice" else images.metric
        assert scores.nested is not None
        assert scores.nested.mean == pytest.approx(scored(metric, rows[:, index : index + 1]))


@pytest.mark.parametrize("metric", list(METRICS))
def test_one_class_by_itself_is_the_binary_task_to_the_bit(metric: str) -> None:
    """Masks, choices and scores."""
    found = []
    for task in (FOREGROUND, ONE):
        images = made(task, build_metric(metric), 12)
        axes = Wanted().axes(MaskSizes(SIZE**2, 300), True, task, metric == "boundary_accuracy")[
            : 5 if "_acc" in metric else 9
        ]
        choice = choose(images, lambda index, axes=axes: axes, "these")  # type: ignore[misc]
        assert choice.shared is not None and not choice.classes and not choice.class_scores
        decisions = Decisions(task, (choice.shared.fitted.decision,))
        masks = [decisions(each.codes, images.seen(each)) for each in images.blended()]
        found.append((choice.scores, choice.shared.fitted.decision, [mask.tobytes() for mask in masks]))
        assert masks[0].dtype == np.uint8
    assert found[0] == found[1]


# Metrics of the set


def greedy(features: np.ndarray, part: np.ndarray, given: Sequence[Axis]) -> tuple[tuple[int, int], float]:
    """The choice and its nested score of one ratio of sums, by loops; N×T×A×2 features."""

    def ratio(rows: np.ndarray) -> float:
        return float(rows[:, 0].sum() / rows[:, 1].sum())

    def error(rows: np.ndarray) -> float:
        """Of a ratio estimator (Cochran, Sampling techniques, section 2.11)."""
        left = rows[:, 0] - ratio(rows) * rows[:, 1]
        return float(np.sqrt((left**2).sum() * len(rows) / (len(rows) - 1)) / rows[:, 1].sum())

    def best(rows: np.ndarray, names: tuple[str, ...]) -> tuple[int, int]:
        ts, As = (axis.open if axis.name in names else (axis.rest,) for axis in given)
        scores = {(t, a): ratio(features[rows, t, a]) for t in ts for a in As}
        near = [at for at in scores if scores[at] >= max(scores.values()) - 1e-7]
        return min(near, key=lambda at: (round(abs(given[0].values[at[0]] - 0.5), 9), at[1], at[0]))

    def held_out(parts: list[int], choose: Any) -> np.ndarray:
        return np.concatenate([features[(part == p, *choose([q for q in parts if q != p]))] for p in parts])

    def fit(parts: list[int]) -> tuple[int, int]:
        names: tuple[str, ...] = ()
        found = held_out(parts, lambda rest: best(np.isin(part, rest), ()))
        for axis in given:
            with_it = (*names, axis.name)
            new = held_out(parts, lambda rest, with_it=with_it: best(np.isin(part, rest), with_it))
            if ratio(new) > ratio(found) + 0.1 * error(found):
                names, found = with_it, new
        return best(np.isin(part, parts), names)

    everything = sorted(set(part.tolist()))
    return fit(everything), ratio(held_out(everything, fit))


@pytest.mark.parametrize("seed", range(8))
def test_scores_of_the_set_are_chosen_and_nested_on_added_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    below = rng.integers(1, 400, (24, 1, 1, 1)) * np.ones((1, 3, 3, 1))
    above = np.floor(below * rng.random((24, 3, 3, 1)))
    above[:, rng.integers(3), rng.integers(3)] = np.floor(0.7 * below[:, 0, 0])
    features, part = np.concatenate([above, below], axis=-1), np.arange(24) % 4
    rows = [part == number for number in range(4)]
    products = features[..., :, None] * features[..., None, :]
    table = Table(
        GRID,
        np.array([features[inside].sum(axis=0) for inside in rows]),
        np.array([products[inside].sum(axis=0) for inside in rows]),
        np.array([inside.sum() for inside in rows]),
        METRICS["miou"](),
    )
    found = Search(None, GRID, table).fitted("these")  # type: ignore[arg-type]
    (t, a), nested = greedy(features, part, GRID)
    assert found.decision == EVERY[3 * t + a]
    assert found.scores.nested is not None and found.scores.nested.mean == pytest.approx(nested)
    assert found.scores.tuned.mean == pytest.approx(features[:, t, a, 0].sum() / features[:, t, a, 1].sum())


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("task", [FOREGROUND, TWO, Multiclass(("a", "b", "c"), 2)], ids=lambda task: task.name)
def test_the_table_adds_up_what_the_masks_score(name: str, task: Task) -> None:
    images = made(task, METRICS[name]())
    axes = [
        axis
        for axis in Wanted(steps=["gate", "smooth"]).axes(MaskSizes(SIZE**2, 300), True, task)
        if axis.name not in (THRESHOLD, SWEPT)
    ]
    axes = [*([] if task.exclusive else GRID), *axes]
    table = score_table(images, axes)
    search = Search(images, axes, table)
    assert {axis.name for axis in table.axes} == {"gate", "smooth", *([] if task.exclusive else [THRESHOLD, SWEPT])}
    rng = np.random.default_rng(0)
    places = [tuple(int(rng.integers(len(axis.values))) for axis in table.axes) for _ in range(8)]
    wanted = [Decisions(task, (search.decision(_Chosen(at)),)) for at in places]
    for at, sums in zip(places, whole_sums(images, wanted)):
        for part, expected in enumerate(sums):
            found = table.sums(at, part)
            np.testing.assert_allclose(found.total, expected.total, rtol=1e-12)
            np.testing.assert_allclose(found.moments, expected.moments, rtol=1e-12)
            assert found.images == expected.images == 3


# Exclusive classes


def specks(task: Task) -> Images:
    """Three stripes, and void; in each prediction a speck of another class inside a stripe."""
    truth = np.repeat(np.arange(3, dtype=np.uint8), 8)[:, None] * np.ones((1, 24), np.uint8)
    truth[:, 20:] = 255
    blended = []
    for number in range(9):
        codes = np.stack([np.where(truth == index, 40000, 9000) for index in range(3)]).astype(np.uint16)
        y, x = 8 * (number % 3) + 2 + number // 3, 3 + number
        codes[(truth[y, x] + 1) % 3, y : y + 2, x : x + 2] = 65000
        blended.append(Blended(str(number), codes, None))
    pixels = np.ones((24, 24, 1), np.uint8)
    part = {each.id: int(each.id) % PARTS for each in blended}
    return Images(lambda: iter(blended), lambda _: truth, lambda _: pixels, part, METRICS["miou"](), task=task)


def test_steps_of_exclusive_classes_are_tried_by_what_their_masks_score() -> None:
    task = Multiclass(("a", "b", "c"))
    images = specks(task)
    axes = Wanted(steps=["components", "largest"]).axes(MaskSizes(576, 150), False, task)
    choice = choose(images, lambda index: axes, "3 folds")
    plain = counts_of(images, Decisions(task, (Decision(None),)))
    assert choice.scores.plain.mean == pytest.approx(scored(images.metric, plain)) and choice.scores.plain.mean < 0.99
    assert choice.shared is not None and choice.shared.fitted.decision.threshold is None
    ((name, values),) = choice.shared.fitted.decision.settings.items()
    assert name == "components" and values == axes[0].values[1]
    assert choice.scores.nested is not None and choice.scores.nested.mean == 1
    assert {scores.nested.mean for scores in choice.class_scores.values() if scores.nested} == {1.0}
    inter, pred, true = plain.sum(axis=0).T
    for index, scores in enumerate(choice.class_scores.values()):
        assert scores.plain.mean == pytest.approx(inter[index] / (pred[index] + true[index] - inter[index]))
        assert (scores.plain.standard_error or 0) > 0


def test_what_is_tried_of_exclusive_classes_has_few_settings() -> None:
    sizes = MaskSizes(240 * 180, 4000)

    def tried(task: Task, **wanted: Any) -> dict[str, int]:
        return {axis.name: len(axis.values) for axis in Wanted(**wanted).axes(sizes, True, task)}

    without = tried(Multiclass(("a", "b")))
    assert without == {"components": 5, "smooth": 4, "holes": 4, "largest": 3}
    assert tried(Multiclass(("a", "b"), 0)) == {**without, "gate": 20, "constant": 2}
    assert tried(Multiclass(("a", "b")), steps=[], min_area=7) == {"components": 2} and not tried(
        Multiclass("ab"), steps=[]
    )


@pytest.mark.parametrize(
    ("wanted", "background", "said"),
    [
        ({"threshold": 0.4}, 0, "--threshold 0.4: the classes exclude each other, so .* leave it out"),
        ({"gate": 0.4}, None, "--gate 0.4: it empties images, but no class is the background"),
        ({"steps": ["constant"]}, None, "--steps constant: it empties images, but no class is the background"),
    ],
)
def test_what_means_nothing_for_exclusive_classes_is_refused(wanted: Any, background: int | None, said: str) -> None:
    with pytest.raises(SegfoldError, match=said):
        Wanted(**wanted).axes(MaskSizes(900, 50), True, Multiclass(("a", "b"), background))


def test_a_prediction_of_other_classes_is_refused() -> None:
    images = made(TWO, METRICS["miou"]())
    wrong = Images(images.blended, images.truth, images.pixels, images.part, images.metric)
    with pytest.raises(SegfoldError, match=r"image i0: predicted \(2, 24, 24\), its mask is \(24, 24\) of 1 classes"):
        score_table(wrong, GRID)
