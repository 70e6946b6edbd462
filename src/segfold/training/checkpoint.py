"""What a fold's training starts from: ``last.pt``, where it goes on exactly where it was, or another run's weights."""

import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from segfold.errors import SegfoldError
from segfold.files import write_atomic
from segfold.paths import user_path
from segfold.runs.folder import RunFolder
from segfold.runs.record import read_done, recorded_inputs
from segfold.training.plan import FoldJob


@dataclass
class Position:
    """Where a fold's training is. All randomness follows from it and the seed."""

    stage: int = 0
    epoch: int = 0
    """Epochs done within the stage."""
    step: int = 0
    """Optimiser steps done within the epoch."""
    epochs: int = 0
    """Epochs done over all stages; the number of lines in ``metrics.jsonl``."""
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    """Training time so far, validation excluded."""


@dataclass
class Checkpoint:
    """Everything that a resumed fold needs; tensors and plain values only, so that loading executes nothing."""

    network: dict[str, Any]
    optimizer: dict[str, Any]
    average: dict[str, Any] | None
    average_updates: int
    scaler: dict[str, Any]
    position: Position
    sums: dict[str, tuple[float, int]]
    """Running sums of the loss parts in an epoch that is not finished, each with its number of samples."""
    decided: dict[str, Any]
    """What was decided once: device type, precision, compile, threads."""
    bound: dict[str, str]
    """Hashes of the data and the folds that the weights depend on."""
    done: bool = False
    scores: list[tuple[int, int, float]] = field(default_factory=list)
    """Validation scores: stage, epochs done over all stages, score."""
    snapshots: int = 0
    """Snapshots taken so far."""
    swa: dict[str, Any] | None = None


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: a kill at any moment leaves the old file or the new one."""
    values = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    values["position"] = asdict(checkpoint.position)
    with write_atomic(path) as temporary:
        torch.save(values, temporary)


def load(path: Path) -> Checkpoint | None:
    """Checkpoint in ``path``, or None where there is none.

    Raises:
        SegfoldError: the file is damaged, or not a checkpoint of this version.
    """
    if not path.exists():
        return None
    try:
        _check_sums(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**{**values, "position": Position(**values["position"])})
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SegfoldError(
            f"{path}: not a checkpoint that can be resumed ({reason}); move it away to start anew"
        ) from None


def _check_sums(path: Path) -> None:
    """Hold the file to its own checksums, which torch writes and does not read."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"its part {damaged} is damaged")


@torch.no_grad()
def start_from(network: nn.Module, job: FoldJob) -> str:
    """Fill ``network`` with the tensors of ``init: runs/OTHER`` that have its names and shapes.

    Returns:
        A line that says how many there were.

    Raises:
        SegfoldError: the other run has not finished this fold, was trained on other data or folds (it may have seen
            what is held out here), or shares no tensor.
    """
    assert job.experiment.init is not None
    other = RunFolder(job.home / user_path(job.experiment.init)).fold(job.fold)
    if not other.finished:
        raise SegfoldError(f"init: {other.path} is not a finished fold; train it first, or set init=null")
    if changed := job.changed(recorded_inputs(read_done(other))):
        raise SegfoldError(
            f"init: {other.path} was trained on other {' and '.join(changed)}, so it may have seen what fold {job.fold} "
            "holds out; start from a run on the same data and fold file"
        )
    try:
        theirs = safetensors.torch.load_file(other.weights())
    except (OSError, safetensors.SafetensorError) as error:
        raise SegfoldError(f"init: {other.weights()} cannot be read ({error}); train that fold again") from None
    ours = network.state_dict()
    matching = [name for name, tensor in ours.items() if name in theirs and theirs[name].shape == tensor.shape]
    if not matching:
        raise SegfoldError(f"init: {other.path} shares no tensor with this model; check model.name and model.encoder")
    for name in matching:
        ours[name].copy_(theirs[name])
    return f"fold {job.fold}: {len(matching)} of {len(ours)} tensors from {other.path}"
