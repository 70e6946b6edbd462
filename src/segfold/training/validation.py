"""Scores of a validation fold, always at the images' original size."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.inference.networks import sizing_of
from segfold.inference.predict import predict
from segfold.machine import Runtime
from segfold.metrics import METRICS, Counts, overlap
from segfold.settings import Experiment
from segfold.store.mean import Probabilities
from segfold.store.reader import HALF
from segfold.training.processes import ALONE, Group

PIECE_BYTES = 1 << 26  # of masks that wait to be counted: many of small images, few of large ones


@dataclass(frozen=True)
class Scores:
    """The competition's metric at threshold 0.5 with its standard error; mean IoU and Dice over images beside it."""

    score: float
    standard_error: float
    iou: float
    dice: float
    empty: float
    """Share of images predicted empty."""

    def as_record(self) -> dict[str, Any]:
        return {name: round(float(getattr(self, name)), 6) for name in self.__dataclass_fields__}


def scores_of(counts: Counts, metric: str) -> Scores:
    """Scores of N images from their pixel counts.

    Args:
        metric: name in ``METRICS``.
    """
    scores = {name: METRICS[name](*counts) for name in {metric, "iou", "dice"}}
    values = scores[metric]
    return Scores(
        score=float(values.mean()),
        standard_error=float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0,
        iou=float(scores["iou"].mean()),
        dice=float(scores["dice"].mean()),
        empty=float((counts.pred_area == 0).mean()),
    )


def score_network(
    network: nn.Module,
    images: ImageSet,
    rows: np.ndarray,
    experiment: Experiment,
    competition: Competition,
    runtime: Runtime,
    group: Group = ALONE,
) -> Scores:
    """Scores of a network without test-time augmentation: the quick look during training.

    Args:
        group: the processes among which the images are shared out.
    """
    assert images.masks is not None
    rows = rows[group.rank :: group.size]
    predictions = predict(
        network,
        images,
        rows,
        sizing_of(experiment),
        channels=experiment.input.channels,
        tta=("identity",),
        batch_size=experiment.predict.batch_size,
        runtime=runtime,
    )
    masks = (values[0] >= 0.5 for _, values in predictions)
    shares = group.gathered(_counts(masks, (images.masks[row] for row in rows)))
    return scores_of(Counts(*map(np.concatenate, zip(*shares))), competition.metric)


def score_store(store: Probabilities, images: ImageSet, competition: Competition) -> Scores:
    """Scores of stored probabilities at threshold 0.5."""
    return scores_of(store_counts(store, images), competition.metric)


def store_counts(store: Probabilities, images: ImageSet) -> Counts:
    """Pixel counts of a store's images in its order, at threshold 0.5; ids pair them with the masks."""
    assert images.masks is not None
    rows = images.position(store.ids)
    masks = (store.codes(index)[0] >= HALF for index in range(len(store.ids)))
    return _counts(masks, (images.masks[row] for row in rows))


def _counts(masks: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> Counts:
    """Pixel counts of masks that are made as they are asked for, some `PIECE_BYTES` at a time."""
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
