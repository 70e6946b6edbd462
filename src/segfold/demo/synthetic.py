"""The embedded data set: a synthetic seismic competition in exactly the layout of Kaggle's TGS salt data.

Its statistics follow the real set's (shares of empty, tiny, vertical and large masks, black tiles, depths, file types),
and its ids hold the same traps for number parsers. The same seed writes the same bytes.
"""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from segfold.demo.seismic import SIDE, image_of, salt_mask
from segfold.errors import SegfoldError
from segfold.layouts.rle import encode

EMPTY = 0.3905
BLACK = 0.02
VERTICAL, HALF_VERTICAL = 113 / 2438, 22 / 2438
"""Of the masks that are not empty: all rows equal, or the last 50."""

CLASSES = (576, 296, 224, 186, 225, 205, 174, 148, 159, 245)
"""Real masks by coverage class: ceil(10·coverage) = 1…10."""

SMALL = ((5, 29), (10, 45), (20, 70), (50, 113), (100, 168), (200, 257), (1020, 576))
"""Pixels, and how many of the real masks in class 1 have no more than that."""

DEPTH_SHARES = (0.39, 0.69, 0.70, 0.69, 0.57)
"""Share of masks that are not empty in each fifth of the depths."""

DEPTHS = (51, 312, 456, 573, 698, 959)
"""Where the fifths of the real depths begin and end."""

TRAPS = ("123e456789", "1e10000000", "0012345678", "9876543210")
"""Ids that a number parser would mangle; the first two read as infinity."""


def generate(folder: Path, *, train: int = 400, test: int = 200, seed: int = 0) -> None:
    """Write the competition into ``folder``, which appears whole or not at all.

    Besides Kaggle's files there is ``solution.csv``, the private truth of the test images.

    Raises:
        SegfoldError: the folder holds something already, which may be data that cannot be made again.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SegfoldError(f"{folder} is there and not empty, nothing was generated: remove it, or name another folder")
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        staging.mkdir(parents=True)
        _write(staging, train, test, np.random.default_rng(seed))
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(folder: Path, train: int, test: int, rng: np.random.Generator) -> None:
    ids = _ids(train + test, rng)
    truths: dict[str, dict[str, str]] = {}
    depths: dict[str, int] = {}
    for split, names in (("train", ids[:train]), ("test", ids[train:])):
        (folder / split / "images").mkdir(parents=True)
        if split == "train":
            (folder / split / "masks").mkdir()
        areas, black = areas_of(len(names), rng)
        truths[split] = {}
        for name, area, is_black in zip(names, areas, black):
            image, mask = sample(rng, int(area), bool(is_black))
            _png(folder / split / "images" / f"{name}.png", np.repeat(image[:, :, None], 3, axis=2))
            if split == "train":
                # As in the real set: empty masks have 8 bits, all others 16.
                stored = mask.astype(np.uint16) * 65535 if mask.any() else mask
                _png(folder / split / "masks" / f"{name}.png", stored)
            truths[split][name] = encode(mask)
            depths[name] = _depth(bool(area), rng)
    _table(folder / "train.csv", "id,rle_mask", truths["train"])
    _table(folder / "solution.csv", "id,rle_mask", truths["test"])
    _table(folder / "depths.csv", "id,z", {name: depths[name] for name in rng.permutation(ids)})
    _table(folder / "sample_submission.csv", "id,rle_mask", dict.fromkeys(rng.permutation(ids[train:]), "1 1"))


def sample(rng: np.random.Generator, area: int, black: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """One image and its mask, uint8 101×101; ``area`` 0 has no salt, a black image has neither."""
    if black:
        return np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    mask = draw_mask(rng, area)
    return image_of(rng, mask), mask


def draw_mask(rng: np.random.Generator, area: int) -> np.ndarray:
    """A mask of about ``area`` pixels with the real set's share of vertical cuts, uint8 {0, 1}, 101×101."""
    return salt_mask(rng, area, _equal_rows(rng, area)) if area else np.zeros((SIDE, SIDE), np.uint8)


def _equal_rows(rng: np.random.Generator, area: int) -> int:
    """How many rows from the bottom are equal by intent, drawn with the real frequencies."""
    if area <= SIDE:
        return 0
    large_enough = 1 - 168 / 2438  # the share of masks that get here
    chance = rng.random() * large_enough
    return SIDE if chance < VERTICAL else int(rng.integers(50, 80)) if chance < VERTICAL + HALF_VERTICAL else 0


def areas_of(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of salt in each of ``count`` images, and which images are black; quotas are exact, the order random."""
    full = count - round(EMPTY * count)
    ideal = np.array(CLASSES) / sum(CLASSES) * full
    quota = np.floor(ideal).astype(int)
    quota[np.argsort(quota - ideal, kind="stable")[: full - quota.sum()]] += 1
    areas = np.zeros(count, np.int64)
    start = 0
    for coverage, number in enumerate(quota, start=1):
        if coverage == 1:
            values = _small_areas(number, rng)
        else:
            values = rng.uniform((coverage - 1) / 10, coverage / 10, number) * SIDE**2
        areas[start : start + number] = np.clip(values, 1, SIDE**2 - 1)
        start += number
    black = np.zeros(count, bool)
    black[start : start + round(BLACK * count)] = True
    order = rng.permutation(count)
    return areas[order], black[order]


def _small_areas(number: int, rng: np.random.Generator) -> np.ndarray:
    """Areas of class 1, spread as the real ones."""
    pixels = np.array([0, *(limit for limit, _ in SMALL)], float)
    reached = np.array([0, *(count for _, count in SMALL)], float) / SMALL[-1][1]
    ranks = (np.arange(number) + rng.uniform(0, 1, number)) / max(number, 1)
    return np.ceil(np.interp(ranks, reached, pixels))


def _depth(salt: bool, rng: np.random.Generator) -> int:
    shares = np.array(DEPTH_SHARES) if salt else 1 - np.array(DEPTH_SHARES)
    fifth = rng.choice(5, p=shares / shares.sum())
    return int(rng.integers(DEPTHS[fifth], DEPTHS[fifth + 1] + 1))


def _ids(count: int, rng: np.random.Generator) -> list[str]:
    names = list(TRAPS)
    while len(names) < count:
        name = rng.bytes(5).hex()
        if name not in names:
            names.append(name)
    return [str(name) for name in rng.permutation(names[:count])]


def _png(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _table(path: Path, header: str, values: dict[str, object] | dict[str, str] | dict[str, int]) -> None:
    path.write_text("\n".join([header, *(f"{name},{value}" for name, value in values.items())]) + "\n")
