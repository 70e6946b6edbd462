"""Small made-up competitions for a board: one of each task, in the layouts that real ones have.

``salt`` is as TGS Salt, ``streets`` has classes that exclude each other and pixels that do not count, the classes of
``organs`` may overlap.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from segfold.competition import Competition, data_folder, load_competition
from segfold.demo.synthetic import generate

SALT = """\
name: salt
title: Synthetic salt & sediment
slug: salt
layout: kaggle-rle
task: binary
classes: [salt]
metric: precision
tables:
  depth: {file: depths.csv, column: z}
leaderboard:
  public: 0.34
  daily: 5
  lines: {gold: 0.93, silver: 0.91, bronze: 0.89, median: 0.80}
"""

STREETS = """\
name: streets
title: Synthetic streets
layout: folders
task: multiclass
classes: [sky, road, car, tree]
void: 255
metric: miou
group_pattern: "^(drive[0-9]+)_"
submission: {form: png}
"""

ORGANS = """\
name: organs
title: Synthetic organs
slug: organs
layout: kaggle-rle
task: multilabel
classes: [bowel, stomach]
metric: dice
class_column: class
rows: class
train_masks: train/masks/{id}_{class}.png
"""

STREET, ORGAN = (72, 96), (64, 80)
"""Heights and widths of the images."""


def make_competition(home: Path, name: str, train: int, test: int, seed: int = 0) -> Competition:
    """Writes the file and the data of ``salt``, ``streets`` or ``organs`` into the working folder ``home``."""
    text, write = COMPETITIONS[name]
    path = home / "configs" / "competitions" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    competition = load_competition(name, home)
    write(data_folder(competition, home), train, test, seed)
    return competition


def _salt(root: Path, train: int, test: int, seed: int) -> None:
    """As the embedded data set; two pairs of training images are nearly one picture, of which one pair has two masks."""
    generate(root, train=train, test=test, seed=seed)
    lines = (root / "train.csv").read_text().splitlines()
    masks = [line.split(",") for line in lines[1:]]
    salty = [number for number, (_, rle) in enumerate(masks) if rle.count(" ") > 20]
    for pair, (one, other) in enumerate(zip(salty[0:4:2], salty[1:4:2])):
        names = masks[one][0], masks[other][0]
        image = cv2.imread(str(root / "train/images" / f"{names[0]}.png"))
        _png(root / "train/images" / f"{names[1]}.png", cv2.convertScaleAbs(np.asarray(image), alpha=0.95, beta=5))
        if not pair:
            lines[1 + other] = f"{names[1]},{masks[one][1]}"
            mask = root / "train/masks" / f"{names[0]}.png"
            (root / "train/masks" / f"{names[1]}.png").write_bytes(mask.read_bytes())
    (root / "train.csv").write_text("\n".join(lines) + "\n")


def _streets(root: Path, train: int, test: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(train + test):
        image, mask = _street(rng)
        split = "train" if number < train else "test"
        name = f"drive{number // 4}_{number:04}"
        _png(root / split / "images" / f"{name}.png", image)
        if split == "train":
            _png(root / split / "masks" / f"{name}.png", mask)


def _street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sky above a road, some trees and cars, a border without a label; H×W×3 and H×W, uint8."""
    height, width = STREET
    horizon = height * rng.uniform(0.35, 0.6) + 8 * smooth(rng, (1, width), 20)[0]
    mask = (np.arange(height)[:, None] > horizon).astype(np.uint8)
    for _ in range(rng.integers(0, 4)):
        x, size = int(rng.integers(width)), int(rng.integers(8, 20))
        cv2.ellipse(mask, (x, int(horizon[x]) - size // 2), (size // 2, size), 0, 0, 360, 3, -1)
    for _ in range(rng.integers(0, 3)):
        x, y = int(rng.integers(width - 16)), int(rng.integers(int(horizon.mean()), height - 8))
        cv2.rectangle(mask, (x, y), (x + int(rng.integers(8, 24)), y + int(rng.integers(5, 12))), 2, -1)
    colours = np.array([(214, 190, 160), (110, 105, 100), (60, 60, 190), (70, 130, 60)], float)
    image = colours[mask] + rng.normal(0, 12, (height, width, 1)) + 14 * smooth(rng, (height, width), 6)[..., None]
    mask[-6:, : int(rng.integers(width))] = 255
    return image.clip(0, 255).astype(np.uint8), mask


def _organs(root: Path, train: int, test: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines, sample = ["id,class,rle_mask"], ["id,class,rle_mask"]
    for number in range(train + test):
        planes = np.stack([_organ(rng, rng.random() < 0.75) for _ in range(2)])
        light = 60 + 70 * planes[0] + 40 * planes[1]
        image = light + rng.normal(0, 10, ORGAN) + 12 * smooth(rng, ORGAN, 5)
        split, name = ("train" if number < train else "test"), f"slice{number:04}"
        _png(root / split / "images" / f"{name}.png", image.clip(0, 255).astype(np.uint8))
        for label, plane in zip(("bowel", "stomach"), planes):
            if split == "train":
                _png(root / split / "masks" / f"{name}_{label}.png", plane * 255)
                lines.append(f"{name},{label},{_rle(plane)}")
            else:
                sample.append(f"{name},{label},1 1")
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    (root / "sample_submission.csv").write_text("\n".join(sample) + "\n")


def _organ(rng: np.random.Generator, there: bool) -> np.ndarray:
    mask = np.zeros(ORGAN, np.uint8)
    if there:
        centre = (int(rng.integers(20, ORGAN[1] - 20)), int(rng.integers(18, ORGAN[0] - 18)))
        axes = (int(rng.integers(6, 18)), int(rng.integers(6, 16)))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


def _rle(mask: np.ndarray) -> str:
    """Column by column, pixels numbered from 1."""
    flat = np.concatenate([[0], mask.T.ravel() > 0, [0]]).astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(flat) == 1), np.flatnonzero(np.diff(flat) == -1)
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends))


def smooth(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """A smooth field H×W of mean 0 and deviation 1."""
    edge = int(3 * sigma)
    noise = rng.standard_normal((shape[0] + 2 * edge, shape[1] + 2 * edge))
    field = cv2.GaussianBlur(noise, (0, 0), sigma)[edge : edge + shape[0], edge : edge + shape[1]]
    return np.asarray((field - field.mean()) / (field.std() + 1e-9))


def _png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


COMPETITIONS: dict[str, tuple[str, Callable[[Path, int, int, int], None]]] = {
    "salt": (SALT, _salt),
    "streets": (STREETS, _streets),
    "organs": (ORGANS, _organs),
}
"""The file of each, and what writes its data."""
