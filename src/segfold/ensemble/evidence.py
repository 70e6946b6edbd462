"""What decisions score on out-of-fold predictions: sums over parts of the images, so memory does not grow with the images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.ensemble.axes import SWEPT, THRESHOLD, Axis
from segfold.ensemble.blend import Blended
from segfold.ensemble.score import ScoreSums
from segfold.ensemble.sweep import Sweep
from segfold.errors import SegfoldError
from segfold.metrics import ImageScore
from segfold.post import POST, Decision, Seen, works_on
from segfold.post.threshold import threshold_code

Floats = npt.NDArray[np.float64]
Result = TypeVar("Result")

_AT_ONCE = 4  # images that each thread has before it


@dataclass(frozen=True)
class Images:
    """Out-of-fold predictions, and what they are held to.

    Attributes:
        blended: begins a pass over the predictions, always in the same order.
        truth: the H×W mask of an id.
        pixels: the H×W×C image of an id.
        part: of the nested estimate that an id belongs to, a number from 0.
        metric: (intersection, union, predicted area, true area) to scores, as in ``IMAGE_SCORES``.
        on_image: told how many images of a pass are done.
    """

    blended: Callable[[], Iterable[Blended]]
    truth: Callable[[str], npt.NDArray[Any]]
    pixels: Callable[[str], npt.NDArray[Any]]
    part: Mapping[str, int]
    metric: ImageScore
    on_image: Callable[[int], None] = lambda done: None

    @property
    def parts(self) -> int:
        """How many there are."""
        return max(self.part.values()) + 1

    def seen(self, blended: Blended) -> Seen:
        """What a post step may ask for."""
        return Seen(lambda: self.pixels(blended.id), blended.nonempty)

    def checked(self, blended: Blended) -> npt.NDArray[Any]:
        """The true mask of an image.

        Raises:
            SegfoldError: more than one class, or a prediction of another size than its mask.
        """
        truth = self.truth(blended.id)
        if blended.codes.shape != (1, *truth.shape):
            raise SegfoldError(
                f"image {blended.id}: predicted {blended.codes.shape}, its mask is {truth.shape}; "
                "predict it anew on this data"
            )
        return truth

    def each(self, work: Callable[[Blended], Result]) -> Iterator[tuple[int, Result]]:
        """The part and the result of each image in order; threads share the work."""
        threads = cores()
        waiting, done = iter(self.blended()), 0
        with ThreadPoolExecutor(threads) as pool:
            while chunk := list(islice(waiting, _AT_ONCE * threads)):
                for blended, result in zip(chunk, pool.map(work, chunk)):
                    yield self.part[blended.id], result
                done += len(chunk)
                self.on_image(done)


@dataclass(frozen=True)
class Table:
    """The scores of every combination of some axes' values, by part.

    Attributes:
        axes: of the combinations; the last ones are threshold and smallest component.
        total: parts × the axes' values, sums of the images' scores.
        squares: the same of their squares.
        images: (parts,) how many there are.
    """

    axes: Sequence[Axis]
    total: Floats
    squares: Floats
    images: npt.NDArray[np.int64]

    def sums(self, at: tuple[int, ...], part: int) -> ScoreSums:
        """Of one combination on one part."""
        place = (part, *at)
        return ScoreSums(float(self.total[place]), float(self.squares[place]), int(self.images[part]))


class _Group:
    """Sums of images of one part that the same values of the emptying steps leave as they are."""

    def __init__(self, shape: tuple[int, ...], kept: npt.NDArray[np.bool_]) -> None:
        self.kept, self.images = kept, 0
        self.total, self.squares = np.zeros(shape), np.zeros(shape)
        self.emptied = np.zeros(2)

    def add(self, scores: Floats, empty: float) -> None:
        self.total += scores
        self.squares += scores**2
        self.emptied += empty, empty**2
        self.images += 1


def score_table(images: Images, axes: Sequence[Axis]) -> Table:
    """Scores of all combinations of the values of some axes, in one pass over the predictions.

    Those are: steps before the decision, steps that empty images, the threshold and the smallest component. Lowering a
    threshold only adds pixels, so all thresholds and smallest components cost one sweep over an image; what empties an
    image costs nothing.
    """
    named = {axis.name: axis for axis in axes}
    before, emptying = ([axis for axis in axes if axis.where == where] for where in ("probabilities", "images"))
    axes = [*before, *emptying, named[THRESHOLD], named[SWEPT]]
    thresholds, areas = (axis.values for axis in axes[-2:])
    sweep = Sweep(
        [threshold_code(value) for value in thresholds],
        [0 if settings is None else settings["min_area"] for settings in areas],
    )
    variants = list(product(*(_steps(axis) for axis in before)))
    emptiers: list[Any] = [_steps(axis) for axis in emptying]
    lengths = [len(axis.values) for axis in axes]
    cells = len(variants), *sweep.shape

    def work(blended: Blended) -> tuple[Floats, float, npt.NDArray[np.bool_]]:
        truth, seen = images.checked(blended), images.seen(blended)
        scores = np.empty(cells)
        true = 0
        for number, steps in enumerate(variants):
            codes = blended.codes[0]
            for step in steps:
                codes = codes if step is None else step(codes, seen)
            inter, predicted, true = sweep(codes, truth)
            counts = inter.ravel(), (predicted + true - inter).ravel(), predicted.ravel(), np.full(inter.size, true)
            scores[number] = np.asarray(images.metric(*counts), np.float32).reshape(inter.shape)
        zero = np.zeros(1, np.int64)
        empty = np.float32(images.metric(zero, zero + true, zero, zero + true)[0])
        kept = np.ones((), bool)
        for steps in emptiers:
            kept = kept[..., None] & np.array([step is None or step.keeps(seen) for step in steps])
        return scores, float(empty), kept.reshape(-1)

    groups: dict[tuple[int, bytes], _Group] = {}
    for part, (scores, empty, kept) in images.each(work):
        key = part, kept.tobytes()
        if key not in groups:
            groups[key] = _Group(cells, kept)
        groups[key].add(scores, empty)

    of_all = images.parts, len(variants), int(np.prod([len(axis.values) for axis in emptying])), *sweep.shape
    total, squares, counts = np.zeros(of_all), np.zeros(of_all), np.zeros(images.parts, np.int64)
    for (part, _), group in groups.items():
        for into, sums, emptied in zip((total[part], squares[part]), (group.total, group.squares), group.emptied):
            into[:, group.kept] += sums[:, None]
            into[:, ~group.kept] += emptied
        counts[part] += group.images
    shape = images.parts, *lengths
    return Table(axes, total.reshape(shape), squares.reshape(shape), counts)


def _steps(axis: Axis) -> list[Any]:
    return [None if settings is None else POST[axis.name](**settings) for settings in axis.values]


def decision_sums(images: Images, decisions: Sequence[Decision]) -> dict[Decision, list[ScoreSums]]:
    """Scores of whole decisions, by part, in one pass over the predictions. Steps that begin alike are taken once."""

    def work(blended: Blended) -> npt.NDArray[np.float32]:
        truth, seen = images.checked(blended) > 0, images.seen(blended)
        done: dict[Any, Any] = {}
        inter, predicted, true = np.full((3, len(decisions)), np.count_nonzero(truth))
        for number, decision in enumerate(decisions):
            mask = _mask(decision, blended.codes[0], seen, done)
            inter[number], predicted[number] = np.count_nonzero(mask & truth), np.count_nonzero(mask)
        return np.asarray(images.metric(inter, predicted + true - inter, predicted, true), np.float32)

    shape = images.parts, len(decisions)
    total, squares, counts = np.zeros(shape), np.zeros(shape), np.zeros(images.parts, np.int64)
    for part, scores in images.each(work):
        total[part] += scores
        squares[part] += scores.astype(np.float64) ** 2
        counts[part] += 1
    return {
        decision: [
            ScoreSums(float(total[part, number]), float(squares[part, number]), int(counts[part]))
            for part in range(images.parts)
        ]
        for number, decision in enumerate(decisions)
    }


def _mask(decision: Decision, codes: npt.NDArray[np.uint16], seen: Seen, done: dict[Any, Any]) -> npt.NDArray[Any]:
    """The mask of a decision; ``done`` holds what was made of this image by the steps of others."""
    before = tuple(step for step in decision.steps if works_on(step[0]) == "probabilities")
    after = [step for step in decision.steps if works_on(step[0]) != "probabilities"]
    key: tuple[Any, ...] = (before, decision.code)
    if key not in done:
        done[key] = Decision(decision.threshold, before)(codes, seen)
    mask = done[key]
    for settings, step in zip(after, decision.after):
        key = (*key, settings)
        if key not in done:
            done[key] = step(mask, seen)
        mask = done[key]
    return np.asarray(mask)
