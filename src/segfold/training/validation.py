"""FoldScores of a validation fold, always at the images' original size."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from segfold.data.images import ImageSet
from segfold.files import write_atomic
from segfold.inference.predict import PredictionSettings, predict
from segfold.machine import Runtime
from segfold.metrics import IMAGE_SCORES, Counts, overlap
from segfold.store import HALF, Probabilities
from segfold.training.plan import FoldJob
from segfold.training.processes import ALONE, Group

PIECE_BYTES = 1 << 26  # of masks that wait to be counted: many of small images, few of large ones


@dataclass(frozen=True)
class FoldScores:
    """The competition's metric at threshold 0.5 with its standard error; mean IoU and Dice over images beside it."""

    score: float
    standard_error: float
    iou: float
    dice: float
    empty: float
    """Share of images predicted empty."""

    def as_record(self) -> dict[str, Any]:
        return {name: round(float(getattr(self, name)), 6) for name in self.__dataclass_fields__}


def scores_of(counts: Counts, metric: str) -> FoldScores:
    """FoldScores of N images from their pixel counts.

    Args:
        metric: name in ``IMAGE_SCORES``.
    """
    scores = {name: IMAGE_SCORES[name](*counts) for name in {metric, "iou", "dice"}}
    values = scores[metric]
    return FoldScores(
        score=float(values.mean()),
        standard_error=float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0,
        iou=float(scores["iou"].mean()),
        dice=float(scores["dice"].mean()),
        empty=float((counts.pred_area == 0).mean()),
    )


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
    """FoldScores of a network on the held-out images without test-time augmentation: the quick look during training.

    Args:
        network: in eval mode, on the runtime's device.
        group: the processes among which the images are shared out.
        say: told what ``segfold.inference.predict.predict`` has to say.
    """
    images, experiment = job.images, job.experiment
    assert images.masks is not None
    rows = job.validation_rows[group.rank :: group.size]
    manner = replace(PredictionSettings.of(experiment, runtime), tta=("identity",))
    masks = (found.planes[0] >= 0.5 for found in predict(network, images, rows, manner, say=say))
    shares = group.gathered(_counts(masks, (images.masks[row] for row in rows)))
    return scores_of(Counts(*map(np.concatenate, zip(*shares))), job.competition.metric)


def store_counts(store: Probabilities, images: ImageSet) -> Counts:
    """Pixel counts of a store's images in its order, at threshold 0.5; ids pair them with the masks."""
    assert images.masks is not None
    rows = images.position(store.ids)
    masks = (store.codes(index)[0] >= HALF for index in range(len(store.ids)))
    return _counts(masks, (images.masks[row] for row in rows))


def write_scores(path: Path, fold: int, ids: Iterable[str], counts: Counts) -> None:
    """Write ``scores.csv``: for each image its id, fold, every metric at threshold 0.5, and its areas in pixels."""
    metrics = {name: metric(*counts) for name, metric in IMAGE_SCORES.items()}
    with write_atomic(path, "w") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "fold", *metrics, "intersection", "predicted_area", "true_area"])
        for number, image_id in enumerate(ids):
            scores = [f"{float(values[number]):.6f}" for values in metrics.values()]
            areas = [int(values[number]) for values in (counts.inter, counts.pred_area, counts.truth_area)]
            rows.writerow([image_id, fold, *scores, *areas])


def _counts(masks: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> Counts:
    """Pixel counts of masks that are made as they are asked for, some ``PIECE_BYTES`` at a time."""
    pieces = []
    pred: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    size = 0
    for one, other in zip(masks, truths, strict=True):
        pred.append(one)
        truth.append(other)
        size += one.nbytes
        if size >= PIECE_BYTES:
            pieces.append(overlap(pred, truth))
            pred, truth, size = [], [], 0
    pieces.append(overlap(pred, truth))
    return Counts(*map(np.concatenate, zip(*pieces)))
