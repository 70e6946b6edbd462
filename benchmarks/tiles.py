"""Peak private memory of predicting a large image by tiles into a store, against one of a quarter of its pixels."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.large_images import experiment, large_split, make_competition
from benchmarks.measure import Effort, Row
from benchmarks.private_memory import peak_of
from segfold.data.images import ImageSet
from segfold.inference.networks import build_network
from segfold.inference.stored import StoredImages, store_predictions
from segfold.machine import resolve
from segfold.runs.folder import RunFolder
from segfold.settings import Experiment
from segfold.tasks import FOREGROUND

NAME = "tiles"
SIDES = 4096, 8192
TILE, OVERLAP = 512, 128
BATCH = 4
"""Tiles of that size that are shown to a network at once where nothing is said of it."""

ROUNDS = 2
WITHIN = 1.05
"""An image of four times the pixels may take a twentieth more."""

MIB = 2**20


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    sides = [effort.side(side, side // 8) for side in SIDES]
    make_competition(folder, NAME, test=sides)
    # Freed memory is given back at once, so that what is looked at is what is held.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 16)
    ways = {"tiles": True, "tiles-cache": False}
    found = {}
    for name, in_place in ways.items():
        large_split(folder, NAME, "test", in_place)  # decoded, or looked at, before memory is
        peaks = [
            [peak_of(predicting, folder, number, in_place, again) / MIB for number in range(len(sides))]
            for again in range(ROUNDS)
        ]
        found[name] = [min(each) for each in zip(*peaks)]
    alone = peak_of(one_batch, folder) / MIB
    how = (
        f"tiles of {TILE}² that overlap by {OVERLAP}, {BATCH} at a time; the least of {ROUNDS} peaks; the network and one batch "
        f"alone take {alone:.0f} MiB above imports"
    )
    read = {"tiles": "windows of tiled TIFF (deflate)", "tiles-cache": "windows of the mapped cache"}
    return [
        Row(
            name,
            large,
            small,
            f"MiB above imports, {sides[1]:,}² against {sides[0]:,}²",
            WITHIN,
            "lower",
            (f"{read[name]}; {large - small:+.1f} MiB; {how}",),
        )
        for name, (small, large) in found.items()
    ]


def settings(home: Path) -> Experiment:
    """Prediction by tiles, as many at once as it takes without being told."""
    return experiment(home, NAME, f"input.crop={TILE}", f"predict.tiles.overlap={OVERLAP}")


def predicting(home: Path, number: int, in_place: bool, again: int) -> Callable[[], object]:
    """For ``peak_of``: predicts one image into a store."""
    chosen = settings(home)
    runtime = resolve(chosen.machine)

    def run() -> None:
        images = large_split(home, NAME, "test", in_place)
        name = f"{number}-{'tiff' if in_place else 'cache'}-{again}"
        torch.manual_seed(0)
        network = build_network(chosen, 1, FOREGROUND).to(memory_format=torch.channels_last).eval()
        store_predictions(wanted(home, chosen, images, number, name), network, "none", "model", runtime)

    return run


def one_batch(home: Path) -> Callable[[], object]:
    """For ``peak_of``: the network, and a batch that it is shown."""
    chosen = settings(home)
    runtime = resolve(chosen.machine)

    @torch.inference_mode()
    def run() -> None:
        network = build_network(chosen, 1, FOREGROUND).to(memory_format=torch.channels_last).eval()
        pixels = torch.zeros(BATCH, 1, TILE, TILE).contiguous(memory_format=torch.channels_last)
        with runtime.autocast():
            network(pixels)

    return run


def wanted(home: Path, chosen: Experiment, images: ImageSet, number: int, name: str) -> StoredImages:
    """The store of one image, in a run of its own."""
    return StoredImages(RunFolder(home / "runs" / name).fold(0), chosen, images, np.array([number]), "test", 1)
