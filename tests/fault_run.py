"""The run that is killed in every way: all that a checkpoint must hold, in a second or two of training."""

import json
from pathlib import Path
from typing import Any

TRAIN = (
    "train",
    "--config",
    "configs/small.yaml",
    "--fold",
    "0",
    "stages.warm={epochs: 3, lr: 1.0e-2, schedule: {plateau: {factor: 0.5, patience: 0}}}",
    "stages.lovasz={epochs: 2, schedule: {cosine: {cycles: 2}}, snapshots: true}",
    "swa={start: 0}",
    "best=2",
    "predict={weights: [model, swa], tta: [identity], batch_size: 4}",
)
"""Dropout, augmentation and the average of weights are in the config already. Ten images a fold, batches of four."""

EPOCHS, STEPS, IMAGES = 5, 10, 10

_CLOCK = ("seconds", "images_per_second", "prediction_seconds")


def fold_folder(home: Path, run: str) -> Path:
    return home / "runs" / run / "fold0"


def epochs(home: Path, run: str) -> int:
    """Whole lines of the run's log."""
    path = fold_folder(home, run) / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def lines(home: Path, run: str) -> list[dict[str, Any]]:
    """The run's log without what the clock says."""
    return [_timeless(json.loads(line)) for line in (fold_folder(home, run) / "metrics.jsonl").read_text().splitlines()]


def _timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _CLOCK}


def outcome(home: Path, run: str) -> dict[str, Any]:
    """All that a finished fold leaves, by file: log and scores without the clock, everything else to the byte."""
    folder = fold_folder(home, run)
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if (
            path.is_dir()
            or path.name in ("last.pt", "lock")
            or path.suffix == ".lock"
            or path.name.endswith(".seconds.json")
            or name.startswith("tensorboard")
        ):
            continue
        found[name] = path.read_bytes()
    found["metrics.jsonl"] = lines(home, run)
    found["done.json"] = _timeless(json.loads(found["done.json"]))
    return found


def differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of the files in which two outcomes differ; short enough for a message."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
