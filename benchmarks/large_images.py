"""Large images for the benchmarks: tiled TIFFs of 16 bits, the competition that they are of, and a small network."""

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

import segfold.data.images
import segfold.layouts.large
from segfold.competition import Competition, load_competition
from segfold.config import load_experiment
from segfold.data.images import ImageSet, load_split
from segfold.layouts.base import Split
from segfold.settings import Experiment

COMPETITION = """\
name: {name}
title: Large images
layout: folders
task: binary
classes: [spot]
metric: dice
train_images: train/{{id}}.tif
train_masks: masks/{{id}}.png
test_images: test/{{id}}.tif
"""

EXPERIMENT = """\
competition: configs/competitions/{name}.yaml
model: {{name: unet, encoder: resnet18, weights: none, decoder_channels: 32, finest_stride: 2}}
augment:
  hflip: {{p: 0.5}}
  affine: {{shift: 0.06, scale: 0.1, rotate: 5, p: 0.5}}
  brightness: {{limit: 0.1, p: 0.3}}
  contrast: {{limit: 0.1, p: 0.3}}
batch_size: 4
ema: {{decay: 0.99}}
clip: 1.0
stages:
  only: {{epochs: 1, lr: 1.0e-3, schedule: constant, warmup: 0, loss: {{mask: {{bce: 1, dice: 1}}}}}}
predict: {{tta: [identity]}}
"""

SEGMENT = 256
"""Height and width of a TIFF's tiles."""


def picture(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A square grey image of 16 bits with bright spots, H×W, and its mask of 0 and 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(20_000, 3000, (side // 32, side // 32)).astype(np.float32)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.uint16)
    image += np.tile(rng.integers(0, 256, (256, 256), np.uint16), (side // 256, side // 256))
    mask = np.zeros((side, side), np.uint8)
    for _ in range(max(side * side // 128**2, 1)):
        centre = [int(place) for place in rng.integers(0, side, 2)]
        cv2.circle(mask, centre, int(rng.integers(6, 30)), 255, -1)
    image[mask > 0] += 4000
    return image, mask


def write_tiled(path: Path, image: np.ndarray) -> None:
    """H×W of 16 bits as a TIFF of tiles with deflate (TIFF 6.0, sections 2, 15 and 23); sides are multiples of a tile."""
    height, width = image.shape
    data, places, lengths = bytearray(b"II\x2a\x00" + bytes(4)), [], []
    for top in range(0, height, SEGMENT):
        for left in range(0, width, SEGMENT):
            tile = np.ascontiguousarray(image[top : top + SEGMENT, left : left + SEGMENT], "<u2")
            places.append(len(data))
            data += zlib.compress(tile.tobytes(), 1)
            lengths.append(len(data) - places[-1])
    tables = []
    for numbers in (places, lengths):
        tables.append(len(data))
        data += struct.pack(f"<{len(numbers)}L", *numbers)
    one = {256: width, 257: height, 258: 16, 259: 8, 262: 1, 277: 1, 322: SEGMENT, 323: SEGMENT}
    entries = [struct.pack("<HHLL", tag, 4, 1, value) for tag, value in one.items()]
    for tag, numbers, table in ((324, places, tables[0]), (325, lengths, tables[1])):
        entries.append(struct.pack("<HHLL", tag, 4, len(numbers), table if len(numbers) > 1 else numbers[0]))
    struct.pack_into("<L", data, 4, len(data))
    data += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(data)


def make_competition(home: Path, name: str, train: Sequence[int] = (), test: Sequence[int] = ()) -> None:
    """Writes a competition ``configs/competitions/<name>.yaml`` below ``home``, and its images.

    Args:
        train: side of each training image.
        test: of each test image.
    """
    root, configs = home / "data" / name, home / "configs" / "competitions"
    for folder in (configs, root / "train", root / "masks", root / "test"):
        folder.mkdir(parents=True, exist_ok=True)
    (configs / f"{name}.yaml").write_text(COMPETITION.format(name=name))
    for split, sides in (("train", train), ("test", test)):
        for number, side in enumerate(sides):
            image, mask = picture(side, number)
            write_tiled(root / split / f"{number:04d}.tif", image)
            if split == "train":
                cv2.imwrite(str(root / "masks" / f"{number:04d}.png"), mask)


def cut_competition(home: Path, name: str, whole: str, side: int) -> None:
    """Writes a competition of the training images of another one, cut into parts, a file each."""
    make_competition(home, name)
    images = large_split(home, whole, "train")
    assert images.masks is not None
    root, number = home / "data" / name, 0
    for image, mask in zip(images.images, images.masks, strict=True):
        for top in range(0, image.shape[0], side):
            for left in range(0, image.shape[1], side):
                part = np.s_[top : top + side, left : left + side]
                write_tiled(root / "train" / f"{number:04d}.tif", image[part][:, :, 0])
                cv2.imwrite(str(root / "masks" / f"{number:04d}.png"), mask[part] * 255)
                number += 1


def competition(home: Path, name: str) -> Competition:
    """The competition ``name`` below ``home``."""
    return load_competition(f"configs/competitions/{name}.yaml", home)


def experiment(home: Path, name: str, *overrides: str) -> Experiment:
    """An experiment on it with a small network.

    Args:
        overrides: ``key.sub=value``.
    """
    path = home / f"{name}.yaml"
    path.write_text(EXPERIMENT.format(name=name))
    return load_experiment(path, overrides)


def large_split(home: Path, name: str, split: Split, in_place: bool = False) -> ImageSet:
    """The images of a competition, read as if they were too large for memory.

    Args:
        in_place: windows are read from the TIFFs, else from the mapped cache. Each has a cache of its own.
    """
    os.environ["SEGFOLD_CACHE"] = str(home / ("in-place" if in_place else "mapped"))
    segfold.layouts.large.LARGE = 0 if in_place else 1 << 60
    segfold.data.images.IN_MEMORY = 0
    images = load_split(competition(home, name), split, home)
    assert bool(images.images._in_place) == in_place
    return images
