"""The end of a fold: its weights, its out-of-fold predictions and their scores; ``done.json`` last."""

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
from segfold.machine import memory_errors
from segfold.metrics import MeanScore
from segfold.observer import SILENT, Observer
from segfold.training.averages import reestimate
from segfold.training.batches import Batches
from segfold.training.learner import Learner
from segfold.training.validation import class_scores, scores_of, store_tally, write_scores


def finish_fold(learner: Learner, observer: Observer = SILENT) -> dict[str, Any]:
    """Write what the trained fold leaves behind; returns what ``done.json`` holds."""
    job, position, runtime, predictor = learner.job, learner.position, learner.runtime, learner.predictor
    digests = {"model": save_weights(predictor, job.folder.weights())}
    digests |= learner.named.finish(predictor, lambda network: _estimate(network, learner))
    fault("weights")
    started = time.monotonic()

    digests_used = {name: digests[name] for name in weights_names(job.experiment.predict.weights, digests, job.folder)}
    store = predict_named(
        StoredImages(job.folder, job.experiment, job.images, job.validation_rows, "oof", job.classes),
        digests_used,
        lambda name: load_weights(predictor, job.folder.weights(name)),
        runtime,
        observer,
    )
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
        "epochs": position.epochs,
        "steps": position.steps,
        "samples": position.samples,
        "seconds": round(position.seconds, 1),
        "prediction_seconds": round(time.monotonic() - started, 1),
        "parameters": sum(parameter.numel() for parameter in predictor.parameters()),
        "device": runtime.device.type,
        "precision": runtime.precision,
        "predicted_with": list(job.experiment.predict.weights),
        "weights": digests,
        **{f"{name}_hash": value for name, value in job.bound.items()},
        "settings": {key: value for key, value in dump(job.experiment).items() if key not in ("machine", "minutes")},
    }
    write_json(job.folder.done, done)
    job.folder.remove_epochs()
    return done


def _by_class(scores: Mapping[str, MeanScore]) -> dict[str, Any]:
    """IoU and its standard error by the name of the class; nothing of a single class."""
    table = {
        name: {"iou": round(score.mean, 6), "standard_error": round(score.standard_error or 0.0, 6)}
        for name, score in scores.items()
    }
    return {"classes": table} if table else {}


def _estimate(network: nn.Module, learner: Learner) -> None:
    """Batch-norm statistics of a network over one epoch of the last stage's training images."""
    job, runtime = learner.job, learner.runtime

    def forward(network: nn.Module, batch: Any) -> object:
        pixels = batch["image"].to(runtime.device, non_blocking=True, memory_format=torch.channels_last)
        with runtime.autocast():
            return network(pixels)

    torch.manual_seed(job.seed)  # for dropout
    with (
        closing(Batches(job, job.stages[job.last_stage], runtime, gaps=False)) as batches,
        memory_errors(runtime, "lower batch_size"),
    ):
        reestimate(network, batches.of(learner.position.epochs, 0), forward)
