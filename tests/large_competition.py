"""A competition of large grey images of 16 bits, in tiled TIFF, whose objects show at full resolution only.

Grained spots are objects, plain spots of the same size, shape and mean are not. The grain is a chequer of 2×2 pixels, whose
mean is 0 over every 4×4 pixels that begin at a multiple of 4: an image that is shrunk by 8 has nothing left of it.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tiff_files import DEFLATE, write_tiff

CELL = 96
"""Pixels a side of the squares of which each holds a spot or none."""

RADII = 5, 14
TILE = 256, 256

COMPETITION = """\
name: large
title: Large
slug: large-slug
layout: kaggle-rle
task: binary
classes: [grained]
metric: dice
train_images: train/{id}.tif
train_masks: null
test_images: test/{id}.tif
solution: solution.csv
"""

EXPERIMENT = """\
competition: configs/competitions/large.yaml
folds: {k: 2}
model: {name: unet, encoder: test_resnet, weights: none, stem_pool: false, decoder_channels: 8}
augment: {hflip: {p: 0.5}}
batch_size: 4
ema: null
clip: 1.0
stages:
  only: {epochs: 1, loss: {mask: {dice: 1}}, lr: 1.0e-2, schedule: onecycle}
validate: {every: 1000}
predict: {tta: [identity]}
machine: {device: cpu, precision: fp32, compile: false, threads: 1, workers: 0, progress: false, report: false}
"""


class Drawn(NamedTuple):
    """Attributes: image: H×W×1 of 16 bits. mask: H×W of 0 and 1."""

    image: np.ndarray
    mask: np.ndarray


def draw(shape: tuple[int, int], seed: int) -> Drawn:
    """An image of any size with its objects; the same for the same seed."""
    rng = np.random.default_rng(seed)
    height, width = shape
    coarse = rng.normal(0, 2500, (height // 64 + 2, width // 64 + 2)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image += 20_000 + 500 * rng.standard_normal(shape, np.float32)
    kinds = np.zeros(shape, np.uint8)
    for top in range(0, height - CELL + 1, CELL):
        for left in range(0, width - CELL + 1, CELL):
            kind = int(rng.choice(3, p=(0.4, 0.3, 0.3)))  # none, grained, plain
            axes = [int(radius) for radius in rng.integers(RADII[0], RADII[1] + 1, 2)]
            centre = [int(start + rng.integers(16, CELL - 16)) for start in (left, top)]
            if kind:
                cv2.ellipse(kinds, centre, axes, int(rng.integers(180)), 0, 360, kind, -1)
    rows, columns = np.ogrid[:height, :width]
    grain = np.where((rows // 2 + columns // 2) % 2, np.float32(2500), np.float32(-2500))
    image[kinds > 0] += 5000
    image += np.where(kinds == 1, grain, 0)
    return Drawn(image.clip(0, 65535).astype(np.uint16)[:, :, None], (kinds == 1).astype(np.uint8))


def run_lengths(mask: np.ndarray) -> str:
    """Down the columns, from 1."""
    flat = np.concatenate([[0], mask.T.reshape(-1), [0]]).astype(np.int8)
    (edges,) = np.nonzero(np.diff(flat))
    return " ".join(f"{start + 1} {end - start}" for start, end in edges.reshape(-1, 2))


def make_competition(home: Path, train: list[tuple[int, int]], test: list[tuple[int, int]]) -> Path:
    """A working folder: the competition, an experiment at ``configs/large.yaml`` without ``input``, and the test masks.

    Args:
        train: height and width of each training image.
        test: of each test image.
    """
    root = home / "data" / "large"
    (home / "configs" / "competitions").mkdir(parents=True)
    (home / "configs" / "competitions" / "large.yaml").write_text(COMPETITION)
    (home / "configs" / "large.yaml").write_text(EXPERIMENT)
    for split, shapes, table in (("train", train, "train.csv"), ("test", test, "solution.csv")):
        (root / split).mkdir(parents=True)
        lines = ["id,rle_mask"]
        for number, shape in enumerate(shapes):
            name = f"{split[:2]}{number:02d}"
            image, mask = draw(shape, seed=1000 * (split == "test") + number)
            write_tiff(root / split / f"{name}.tif", image, tile=TILE, compression=DEFLATE)
            lines.append(f"{name},{run_lengths(mask)}")
        (root / table).write_text("\n".join(lines) + "\n")
    ids = [line.partition(",")[0] for line in lines[1:]]
    (root / "sample_submission.csv").write_text("\n".join(["id,rle_mask", *(f"{name},1 1" for name in ids)]) + "\n")
    return home
