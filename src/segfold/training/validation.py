"""Scores of a validation fold, always at the images' original size."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.files import write_atomic
from segfold.inference.manner import PredictionSettings
from segfold.inference.predict import Strip, predict_strips
from segfold.machine import Runtime
from segfold.metrics import IMAGE_SCORES, METRICS, CountMetric, Counts, MeanScore, Metric, ScoreSums
from segfold.store import HALF, Probabilities, to_codes
from segfold.tasks import Mask, Task
from segfold.tasks.scoring import features
from segfold.training.plan import FoldJob
from segfold.training.processes import ALONE, Group


@dataclass(frozen=True)
class Tally:
    """What some images are scored by, in their order.

    Attributes:
        features: N×K numbers that the competition's metric adds up.
        counts: N×C pixels.
    """

    features: npt.NDArray[np.float64]
    counts: Counts


@dataclass(frozen=True)
class FoldScores:
    """The competition's metric with its standard error, every class at a probability of one half or the most probable one.

    Mean IoU and Dice stand beside it: over images, of each one's mean over the classes; of classes that exclude each
    other, over the classes, of each one over the whole set.
    """

    score: float
    standard_error: float
    iou: float
    dice: float
    empty: float
    """Share of images predicted without any object."""

    def as_record(self) -> dict[str, Any]:
        return {name: round(float(getattr(self, name)), 6) for name in self.__dataclass_fields__}


def scores_of(tally: Tally, metric: Metric, task: Task) -> FoldScores:
    """Scores of N images."""
    found = ScoreSums.of(tally.features).score(metric)
    counts = tally.counts
    if task.exclusive:
        beside = [ScoreSums.of(metric.of(counts)).score(metric).mean for metric in _over_the_set()]
    else:
        beside = [float(IMAGE_SCORES[name](*counts).mean()) for name in ("iou", "dice")]
    return FoldScores(
        score=found.mean,
        standard_error=found.standard_error or 0.0,
        iou=beside[0],
        dice=beside[1],
        empty=float((counts.pred_area[:, list(task.rows)].sum(axis=1) == 0).mean()),
    )


def class_scores(tally: Tally, task: Task) -> dict[str, MeanScore]:
    """IoU of each class over the set, with its standard error over images; none where there is one class only."""
    if len(task.classes) == 1:
        return {}
    iou = _over_the_set()[0]
    each = (Counts(*(array[:, index, None] for array in tally.counts)) for index in range(len(task.classes)))
    return {name: ScoreSums.of(iou.of(counts)).score(iou) for name, counts in zip(task.classes, each)}


def _over_the_set() -> list[CountMetric]:
    """IoU and Dice of each class over all images, and their means over the classes."""
    return [METRICS["miou"](), METRICS["global_dice"](macro=True)]  # type: ignore[list-item]


def is_due(job: FoldJob, epochs: int) -> bool:
    """Whether the held-out images are predicted after so many epochs over all stages."""
    if epochs >= job.epochs:
        # The last epoch's own score follows from the out-of-fold predictions, unless epochs are compared.
        return job.experiment.best > 0
    return epochs % job.experiment.validate_.every == 0


def score_network(
    network: nn.Module,
    job: FoldJob,
    runtime: Runtime,
    group: Group = ALONE,
    say: Callable[[str], None] = lambda text: None,
) -> FoldScores:
    """Scores of a network on the held-out images without test-time augmentation and boxes: the quick look during training.

    Args:
        network: in eval mode, on the runtime's device.
        group: the processes among which the images are shared out.
        say: told what ``segfold.inference.predict.predict_strips`` has to say.
    """
    images, competition = job.images, job.competition
    rows = job.validation_rows[group.rank :: group.size]
    manner = replace(PredictionSettings.of(job.experiment, runtime), tta=("identity",), boxes=None)
    masks = _plain_masks(predict_strips(network, images, rows, manner, say=say), images.task)
    shares = group.gathered(_tally(masks, images, rows, competition))
    counts = Counts(*map(np.concatenate, zip(*(share.counts for share in shares))))
    whole = Tally(np.concatenate([share.features for share in shares]), counts)
    return scores_of(whole, competition.scorer, images.task)


def _plain_masks(strips: Iterable[Strip], task: Task) -> Iterator[Mask]:
    """The masks of images that are predicted in strips; only the mask of one is held."""
    plain, held = task.plain(HALF), list[Mask]()
    for strip in strips:
        held.append(task.decided(to_codes(np.nan_to_num(strip.planes)), plain))
        if strip.last:
            yield held[0] if len(held) == 1 else np.concatenate(held)
            held = []


def store_tally(store: Probabilities, images: ImageSet, competition: Competition) -> Tally:
    """What a store's images are scored by, in its order; ids pair them with the masks."""
    plain = images.task.plain(HALF)
    masks = (images.task.decided(store.codes(index), plain) for index in range(len(store.ids)))
    return _tally(masks, images, images.position(store.ids), competition)


def write_scores(path: Path, fold: int, ids: Iterable[str], tally: Tally, task: Task) -> None:
    """Write ``scores.csv``: for each image its id, fold, every score an image, and its areas in pixels.

    Scores are means over the classes; of several classes, the areas of each have columns of their own.
    """
    counts = tally.counts
    scores = {name: score(*counts).mean(axis=1) for name, score in IMAGE_SCORES.items()}
    areas = {"intersection": counts.inter, "predicted_area": counts.pred_area, "true_area": counts.truth_area}
    single = len(task.classes) == 1
    columns = [name if single else f"{name}:{each}" for each in task.classes for name in areas]
    with write_atomic(path, "w") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "fold", *scores, *columns])
        for number, image_id in enumerate(ids):
            values = [f"{float(score[number]):.6f}" for score in scores.values()]
            pixels = [int(area[number, index]) for index in range(len(task.classes)) for area in areas.values()]
            rows.writerow([image_id, fold, *values, *pixels])


def _tally(masks: Iterable[Mask], images: ImageSet, rows: np.ndarray, competition: Competition) -> Tally:
    """Of masks that are made as they are asked for."""
    task, metric = images.task, competition.scorer
    found: list[npt.NDArray[np.float64]] = []
    counted: list[Counts] = []
    for pred, truth, objects in zip(masks, *_truths(images, rows), strict=True):
        counts = task.counts(pred, truth)
        counted.append(counts)
        found.append(
            metric.of(counts) if isinstance(metric, CountMetric) else features(task, metric, pred, truth, objects)
        )
    size = metric.size(len(task.classes))
    counts = Counts(*(np.array(arrays, np.int64).reshape(len(rows), -1) for arrays in zip(*counted, strict=True)))
    return Tally(np.array(found, np.float64).reshape(len(rows), size), counts)


def _truths(images: ImageSet, rows: np.ndarray) -> tuple[Iterator[Mask], Iterator[npt.NDArray[Any] | None]]:
    masks, instances = images.masks, images.instances
    assert masks is not None
    return (masks[row] for row in rows), (None if instances is None else instances[row] for row in rows)
