"""A working folder with a small competition and a config that trains in seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tiny_competition import brute_force_rle, write_image

ROOT = Path(__file__).parents[1]

COMPETITION = """\
name: small
title: Small
slug: small-slug
layout: kaggle-rle
task: binary
classes: [disc]
metric: precision
"""

EXPERIMENT = """\
competition: configs/competitions/small.yaml
folds: {k: 2}
input: {size: 32, fit: pad}
model: {name: unet, encoder: test_resnet, weights: none, decoder_channels: 8, dropout: 0.1}
augment: {hflip: {p: 0.5}}
batch_size: 4
ema: {decay: 0.9}
clip: 1.0
stages:
  warm: {epochs: 2, loss: {mask: {bce: 1, dice: 1}}, lr: 2.0e-3, schedule: onecycle}
  lovasz: {epochs: 1, loss: {mask: {lovasz: 1}}, lr: 1.0e-3}
predict: {batch_size: 8}
machine: {device: cpu, precision: fp32, compile: false, threads: 1, workers: 0, progress: false, report: false}
"""

TRAIN, TEST = 20, 6


def write_split(root: Path, split: str, count: int, rng: np.random.Generator) -> dict[str, str]:
    """Bright discs on noise, a third of the images without one; returns RLEs by id."""
    texts = {}
    for number in range(count):
        name = f"{'1e' if number % 4 == 0 else 'im'}{number:03d}{split[0]}" if number else f"00{split[:2]}"
        image = rng.normal(90, 20, (28, 26)).clip(0, 255)
        mask = np.zeros((28, 26), np.uint8)
        if number % 3:
            cv2.circle(mask, tuple(int(v) for v in rng.integers(6, 20, 2)), int(rng.integers(3, 9)), 1, -1)
        image[mask > 0] += 100
        grey = image.clip(0, 255).astype(np.uint8)
        write_image(root / split / "images" / f"{name}.png", np.repeat(grey[:, :, None], 3, axis=2))
        if split == "train":
            write_image(root / split / "masks" / f"{name}.png", mask * 255)
        texts[name] = brute_force_rle(mask)
    return texts


def make_project(home: Path, seed: int = 0, count: int = TRAIN) -> Path:
    """A working folder: competition, data with ``count`` training images, one experiment at ``configs/small.yaml``."""
    rng = np.random.default_rng(seed)
    (home / "configs" / "competitions").mkdir(parents=True)
    (home / "configs" / "competitions" / "small.yaml").write_text(COMPETITION)
    (home / "configs" / "small.yaml").write_text(EXPERIMENT)
    root = home / "data" / "small"
    train = write_split(root, "train", count, rng)
    test = write_split(root, "test", TEST, rng)
    for name, texts in (("train.csv", train), ("solution.csv", test)):
        lines = [f"{key},{text}" for key, text in texts.items()]
        (root / name).write_text("\n".join(["id,rle_mask", *lines]) + "\n")
    (root / "sample_submission.csv").write_text(
        "\n".join(["id,rle_mask", *(f"{key},1 1" for key in reversed(test))]) + "\n"
    )
    return home


def segfold(home: Path, *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """``python -m segfold …`` in ``home``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "segfold", *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        **options,  # type: ignore[call-overload]
    )


def fold_job(home: Path, *overrides: str, fold: int = 0, run: str = "here"):  # type: ignore[no-untyped-def]
    """The job of one fold of ``configs/small.yaml``, for training in this process."""
    from segfold import road
    from segfold.competition import load_competition
    from segfold.config import load_experiment
    from segfold.runs.folder import RunFolder

    experiment = load_experiment(home / "configs/small.yaml", overrides)
    competition = load_competition(experiment.competition, home)
    return road.fold_job(road.Run(experiment, competition, RunFolder(home / "runs" / run), home), fold)


def train(job, stopping=None):  # type: ignore[no-untyped-def]
    """Train a job in this process and in silence."""
    from rich.console import Console

    from segfold.cli.progress import Progress
    from segfold.stopping import Stopping
    from segfold.training import train_fold

    with Progress(False, Console(quiet=True)) as progress:
        return train_fold(job, progress, stopping or Stopping())


def lines(job) -> list[dict[str, object]]:  # type: ignore[no-untyped-def]
    """The lines of a run's log, an epoch each."""
    return [json.loads(line) for line in job.folder.metrics.read_text().splitlines()]


def weights(job) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
    """The tensors that a finished fold predicts with."""
    from safetensors.numpy import load_file

    return load_file(job.folder.weights())


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
