"""What decisions score on out-of-fold predictions: sums over parts of the images, so memory does not grow with the images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.ensemble.blend import Blended
from segfold.errors import SegfoldError
from segfold.metrics import Metric, ScoreSums, Truth
from segfold.post import Decision, Decisions, Seen
from segfold.tasks import FOREGROUND, Mask, Task
from segfold.tasks.scoring import features, truth_of

Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.integer[Any]]
Result = TypeVar("Result")

_AT_ONCE = 4  # images that each thread has before it
_BYTES = 1 << 28  # of predictions, beyond which no more are read before these are worked on


@dataclass(frozen=True)
class Images:
    """Out-of-fold predictions, and what they are held to.

    Attributes:
        blended: begins a pass over the predictions, always in the same order.
        truth: the H×W mask of an id.
        pixels: the H×W×C image of an id.
        part: of the nested estimate that an id belongs to, a number from 0.
        metric: the competition's.
        on_image: told how many images of a pass are done.
        task: which classes there are.
        objects: H×W object numbers of an id; None where the competition has no objects.
    """

    blended: Callable[[], Iterable[Blended]]
    truth: Callable[[str], Mask]
    pixels: Callable[[str], npt.NDArray[Any]]
    part: Mapping[str, int]
    metric: Metric
    on_image: Callable[[int], None] = lambda done: None
    task: Task = FOREGROUND
    objects: Callable[[str], Objects] | None = None

    @property
    def parts(self) -> int:
        """How many there are."""
        return max(self.part.values()) + 1

    def of_class(self, index: int) -> "Images":
        """The same of one class alone."""
        return replace(
            self,
            blended=lambda: (each._replace(codes=each.codes[index : index + 1]) for each in self.blended()),
            truth=lambda name: self.task.planes(self.truth(name))[index].view(np.uint8),
            task=FOREGROUND,
        )

    def seen(self, blended: Blended) -> Seen:
        """What a post step may ask for."""
        return Seen(lambda: self.pixels(blended.id), blended.nonempty)

    def checked(self, blended: Blended) -> Mask:
        """The true mask of an image.

        Raises:
            SegfoldError: other classes than the competition's, or a prediction of another size than its mask.
        """
        truth = self.truth(blended.id)
        if blended.codes.shape != (len(self.task.classes), *truth.shape):
            raise SegfoldError(
                f"image {blended.id}: predicted {blended.codes.shape}, its mask is {truth.shape} of "
                f"{len(self.task.classes)} classes; predict it anew on this data"
            )
        return truth

    def whole_truth(self, blended: Blended) -> Truth:
        """The same as ``checked``, as metrics take it that look at pixels."""
        return truth_of(self.task, self.checked(blended), self.objects_of(blended.id))

    def objects_of(self, name: str) -> Objects | None:
        """Of an id, where the competition has objects."""
        return None if self.objects is None else self.objects(name)

    def each(self, work: Callable[[Blended], Result]) -> Iterator[tuple[int, Result]]:
        """The part and the result of each image in order; threads share the work."""
        threads = cores()
        waiting, done = iter(self.blended()), 0
        with ThreadPoolExecutor(threads) as pool:
            while chunk := _some(waiting, _AT_ONCE * threads):
                for blended, result in zip(chunk, pool.map(work, chunk)):
                    yield self.part[blended.id], result
                    done += 1
                    self.on_image(done)


def _some(waiting: Iterator[Blended], most: int) -> list[Blended]:
    """The next images: so many, or fewer where they are large."""
    chunk: list[Blended] = []
    held = 0
    while len(chunk) < most and held < _BYTES and (blended := next(waiting, None)) is not None:
        chunk.append(blended)
        held += blended.codes.nbytes
    return chunk


def rounded(scores: Floats) -> Floats:
    """Features (…, K) as they are added up: a score an image in single precision, counts of pixels as they are."""
    return scores.astype(np.float32).astype(np.float64) if scores.shape[-1] == 1 else scores


def decision_sums(images: Images, decisions: Sequence[Decision]) -> dict[Decision, list[ScoreSums]]:
    """Of decisions that all classes share, by part, in one pass over the predictions."""
    found = whole_sums(images, [Decisions(images.task, (decision,)) for decision in decisions])
    return dict(zip(decisions, found))


def whole_sums(images: Images, wanted: Sequence[Decisions]) -> list[list[ScoreSums]]:
    """For each of some decisions its sums by part, in one pass over the predictions. Steps that begin alike are taken once."""
    task, metric = images.task, images.metric

    def work(blended: Blended) -> Floats:
        truth, seen = images.checked(blended), images.seen(blended)
        objects = images.objects_of(blended.id)
        known: dict[Any, Any] = {}
        masks = (decisions(blended.codes, seen, known) for decisions in wanted)
        return rounded(np.array([features(task, metric, mask, truth, objects) for mask in masks], np.float64))

    size = metric.size(len(task.classes))
    shape = len(wanted), images.parts, size
    total, moments, counts = np.zeros(shape), np.zeros((*shape, size)), np.zeros(images.parts, np.int64)
    for part, rows in images.each(work):
        total[:, part] += rows
        moments[:, part] += rows[:, :, None] * rows[:, None, :]
        counts[part] += 1
    return [
        [ScoreSums(total[number, part], moments[number, part], int(counts[part])) for part in range(images.parts)]
        for number in range(len(wanted))
    ]


def image_features(images: Images, decisions: Decisions) -> Floats:
    """(N, K) features of each image's masks, in the order of the images, in one pass; ``ScoreSums.of`` gives their score."""
    return part_features(images, dict.fromkeys(range(images.parts), decisions))


def part_features(images: Images, decisions: Mapping[int, Decisions]) -> Floats:
    """The same, each part of the images decided by its own decisions; a part without any is left out."""
    task, metric = images.task, images.metric

    def work(blended: Blended) -> Floats | None:
        chosen = decisions.get(images.part[blended.id])
        if chosen is None:
            return None
        mask = chosen(blended.codes, images.seen(blended), {})
        found = features(task, metric, mask, images.checked(blended), images.objects_of(blended.id))
        return rounded(np.asarray(found, np.float64))

    found = [row for _, row in images.each(work) if row is not None]
    return np.array(found).reshape(len(found), metric.size(len(task.classes)))
