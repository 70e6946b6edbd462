"""``last.pt``: one file from which a fold's training goes on exactly where it was."""

import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from segfold.errors import SegfoldError
from segfold.runs.folder import write_atomic


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
