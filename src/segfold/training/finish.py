"""The end of a fold: its weights, its out-of-fold predictions and their score; ``done.json`` last."""

import time
from typing import Any

import torch
from torch import nn

from segfold.config import dump
from segfold.faults import fault
from segfold.inference.networks import load_weights, save_weights
from segfold.inference.stored import Task, predict_named, weights_names
from segfold.machine import Runtime, memory_errors
from segfold.runs.folder import write_json
from segfold.training.batches import Batches
from segfold.training.batchnorm import reestimate
from segfold.training.checkpoint import Position
from segfold.training.kept import NamedWeights
from segfold.training.plan import FoldJob
from segfold.training.progress import Progress
from segfold.training.validation import score_store


def finish_fold(
    job: FoldJob,
    position: Position,
    predictor: nn.Module,
    weights: NamedWeights,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Write what the trained fold leaves behind; returns what ``done.json`` holds.

    Args:
        predictor: the network whose predictions count, with its last weights.
    """
    digests = {"model": save_weights(predictor, job.folder.weights())}
    digests |= weights.finish(predictor, lambda network: _estimate(network, job, position, runtime))
    fault("weights")
    started = time.monotonic()

    classes = len(job.competition.classes)
    store = predict_named(
        Task(job.folder, job.experiment, job.images, job.validation_rows, "oof", classes, runtime),
        weights_names(job.experiment.predict.weights, digests, job.folder),
        digests,
        lambda name: load_weights(predictor, job.folder.weights(name)),
        progress.predicting,
    )
    scores = score_store(store, job.images, job.competition)
    done = {
        "competition": job.competition.name,
        "metric": job.competition.metric,
        "fold": job.fold,
        **scores.as_record(),
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


def _estimate(network: nn.Module, job: FoldJob, position: Position, runtime: Runtime) -> None:
    """Batch-norm statistics of a network over one epoch of the last stage's training images."""
    batches = Batches(job, job.stages[job.last_stage], runtime)

    def forward(network: nn.Module, batch: Any) -> object:
        pixels = batch["image"].to(runtime.device, non_blocking=True, memory_format=torch.channels_last)
        with runtime.autocast():
            return network(pixels)

    torch.manual_seed(job.seed)  # for dropout
    try:
        with memory_errors(runtime, "lower batch_size"):
            reestimate(network, batches.of(position.epochs, 0), forward)
    finally:
        batches.close()
