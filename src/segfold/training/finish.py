"""The end of a fold: its weights, its out-of-fold predictions and their scores; ``done.json`` last.

What needs no training behind it, statistics and scores, stands alone: weights that were averaged end in the same way.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import torch
from torch import nn

from segfold.config import dump
from segfold.faults import fault
from segfold.files import write_json
from segfold.inference.networks import load_weights, save_weights
from segfold.inference.stored import StoredImages, predict_named, weights_names
from segfold.machine import Runtime, memory_errors
from segfold.metrics import MeanScore
from segfold.observer import SILENT, Observer
from segfold.store import Probabilities
from segfold.training.averages import reestimate
from segfold.training.batches import Batches
from segfold.training.learner import Learner
from segfold.training.plan import FoldJob
from segfold.training.validation import class_scores, scores_of, store_tally, write_scores


def finish_fold(learner: Learner, observer: Observer = SILENT) -> dict[str, Any]:
    """Write what the trained fold leaves behind; returns what ``done.json`` holds."""
    job, position, runtime, predictor = learner.job, learner.position, learner.runtime, learner.predictor
    digests = {"model": save_weights(predictor, job.folder.weights())}
    digests |= learner.named.finish(
        predictor, lambda network: estimate_statistics(network, job, runtime, position.epochs)
    )
    fault("weights")
    trained = {
        "epochs": position.epochs,
        "steps": position.steps,
        "samples": position.samples,
        "seconds": round(position.seconds, 1),
    }
    done = score_fold(job, predictor, digests, runtime, trained, observer)
    job.folder.remove_epochs()
    return done


def score_fold(
    job: FoldJob,
    network: nn.Module,
    digests: Mapping[str, str],
    runtime: Runtime,
    made: Mapping[str, Any],
    observer: Observer = SILENT,
) -> dict[str, Any]:
    """Predict a fold's held-out images with the weights that lie in its folder, and write their scores and ``done.json``.

    Args:
        network: of the fold's architecture, on the runtime's device; it is filled from the files.
        digests: the sha256 of each named set's file.
        made: what else ``done.json`` is to hold: how the weights came about.

    Returns:
        What ``done.json`` holds.
    """
    started = time.monotonic()
    digests_used = {name: digests[name] for name in weights_names(job.experiment.predict.weights, digests, job.folder)}
    store = predict_named(
        StoredImages(job.folder, job.experiment, job.images, job.validation_rows, "oof", job.classes),
        digests_used,
        lambda name: load_weights(network, job.folder.weights(name)),
        runtime,
        observer,
    )
    predicted = {
        "prediction_seconds": round(time.monotonic() - started, 1),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "device": runtime.device.type,
        "precision": runtime.precision,
    }
    return write_done(job, store, digests, {**made, **predicted})


def write_done(
    job: FoldJob, store: Probabilities, digests: Mapping[str, str], made: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a fold's scores and ``done.json`` from the predictions of its held-out images; returns what the latter holds.

    Args:
        made: what else it is to hold: how the weights and the predictions came about.
    """
    task = job.images.task
    tally = store_tally(store, job.images, job.competition)
    write_scores(job.folder.scores, job.fold, store.ids, tally, task)
    fault("scores")
    scores = scores_of(tally, job.competition.scorer, task)
    done = {
        "competition": job.competition.name,
        "metric": job.competition.metric,
        "fold": job.fold,
        **scores.as_record(),
        **_by_class(class_scores(tally, task)),
        "images": len(job.validation_rows),
        "held_out": [str(name) for name in job.images.ids[job.validation_rows]],
        "training_images": len(job.training_rows),
        **made,
        "predicted_with": list(job.experiment.predict.weights),
        "weights": dict(digests),
        **{f"{name}_hash": value for name, value in job.bound.items()},
        "settings": {key: value for key, value in dump(job.experiment).items() if key not in ("machine", "minutes")},
    }
    write_json(job.folder.done, done)
    return done


def _by_class(scores: Mapping[str, MeanScore]) -> dict[str, Any]:
    """IoU and its standard error by the name of the class; nothing of a single class."""
    table = {
        name: {"iou": round(score.mean, 6), "standard_error": round(score.standard_error or 0.0, 6)}
        for name, score in scores.items()
    }
    return {"classes": table} if table else {}


def estimate_statistics(network: nn.Module, job: FoldJob, runtime: Runtime, epoch: int) -> None:
    """Batch-norm statistics of a network over one epoch of the last stage's training images; see ``reestimate``.

    Args:
        network: on the runtime's device.
        epoch: which one, counted over all stages: the images' order and augmentation follow from it.
    """

    def forward(network: nn.Module, batch: Any) -> object:
        pixels = batch["image"].to(runtime.device, non_blocking=True, memory_format=torch.channels_last)
        with runtime.autocast():
            return network(pixels)

    torch.manual_seed(job.seed)  # for dropout
    with (
        closing(Batches(job, job.stages[job.last_stage], runtime, gaps=False)) as batches,
        memory_errors(runtime, "lower batch_size"),
    ):
        reestimate(network, batches.of(epoch, 0), forward)
