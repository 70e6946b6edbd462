"""The synthetic competition that networks are timed on, as a fold's training sees it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segfold.competition import data_folder, load_competition
from segfold.config import load_experiment
from segfold.data.images import load_split
from segfold.demo.synthetic import generate
from segfold.resize import Shape
from segfold.runs.folder import RunFolder
from segfold.training import FoldJob

COMPETITION = "synthetic-salt"
CONFIG = Path(__file__).parents[1] / "configs" / "quick.yaml"
STAGE = "small"
"""The stage of the config that is timed: its first."""

PLAIN = (f"stages.{STAGE}.lr=1e-3", f"stages.{STAGE}.schedule=constant", f"stages.{STAGE}.warmup=0")
"""One learning rate, so that all steps are alike."""

FULL_TRAINING = 100_000
"""Images of a whole training, by which the machine's settings are chosen: what is timed is a part of one."""


def make_images(home: Path, train: int, test: int = 4) -> Path:
    """Write the competition below ``home``; returns its folder."""
    folder = data_folder(load_competition(COMPETITION), home)
    generate(folder, train=train, test=test)
    return folder


def first_stage(home: Path, size: int, batch_size: int, overrides: Sequence[str] = ()) -> FoldJob:
    """A fold of the quick config whose first stage trains on every training image.

    Args:
        home: where ``make_images`` wrote.
        size: of the network's square input.
        overrides: of the experiment, ``key.sub=value``.
    """
    experiment = load_experiment(
        CONFIG,
        [f"competition={COMPETITION}", f"stages.{STAGE}.size={size}", f"batch_size={batch_size}", *PLAIN, *overrides],
    )
    competition = load_competition(COMPETITION)
    images = load_split(competition, "train", home)
    # No image is held out: fold 0 is empty, and the rows of fold 1 are trained on.
    return FoldJob(
        experiment, competition, images, np.ones(len(images), int), 0, RunFolder(home / "runs/bench").fold(0)
    )


def gmacs(network: nn.Module, size: int | Shape, channels: int = 3) -> float:
    """10⁹ multiplications of one image's forward pass in training mode; the backward pass takes about two more.

    Args:
        size: height and width of the image, or one number for both.
    """
    height, width = (size, size) if isinstance(size, int) else size
    was_training = network.training
    norms = {name: buffer.clone() for name, buffer in network.named_buffers()}
    images = torch.zeros(2, channels, height, width, device=next(network.parameters()).device)
    network.train()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
        for name, buffer in network.named_buffers():
            buffer.copy_(norms[name])
    network.train(was_training)
    return counter.get_total_flops() / 2 / 2 / 1e9
