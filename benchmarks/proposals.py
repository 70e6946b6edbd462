"""Proposals of photographs, against the search in edges that are there already; and what is kept of them, read again."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.measure import Effort, Row, interleave, rate, spread
from segfold.data.edge_boxes import ProposalSettings, edge_boxes, edges_of, searched
from segfold.data.images import ImageSet
from segfold.data.pixel_store import PixelStore
from segfold.data.proposals import Proposals
from segfold.settings import Proposals as Settings

SHAPE = 375, 500
IMAGES = 16
TARGET = 0.8
READ_TARGET = 0.5


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    search = Settings().search
    shape = (effort.size(SHAPE[0], 60), effort.size(SHAPE[1], 80))
    images = [photograph(shape, seed) for seed in range(effort.size(IMAGES, 2))]
    edges = [edges_of(image, search) for image in images]
    boxes = sum(len(edge_boxes(image, search)[0]) for image in images)
    finding = {
        "ours": lambda: [edge_boxes(image, search) for image in images],
        "peer": lambda: [searched(*each, search) for each in edges],
    }
    times = interleave(finding, least=effort.least(5), seconds=effort.seconds(40))
    found, limit = (rate(len(images), times[name]) for name in finding)
    reading = kept(effort, folder, images, search)
    return [
        Row(
            "proposals",
            found,
            limit,
            f"images/s of {shape[0]}×{shape[1]} on one core",
            TARGET,
            notes=(
                f"{found * boxes / len(images):,.0f} boxes/s; the limit is OpenCV's getBoundingBoxes alone; {spread(times)}",
            ),
        ),
        reading,
    ]


def kept(effort: Effort, folder: Path, images: list[np.ndarray], search: ProposalSettings) -> Row:
    """Reading what is kept, row after row, against the same arrays from a plain file an image."""
    proposals = Proposals(written(folder, images), search)
    proposals.prepare(range(len(images)))
    for row in range(len(images)):
        np.save(folder / f"{row}-boxes.npy", proposals.of(row)[0])
        np.save(folder / f"{row}-scores.npy", proposals.of(row)[1])
    repeats = effort.size(20, 1)

    def ours() -> None:
        for _ in range(repeats):
            fresh = Proposals(proposals.images, search)
            for row in range(len(images)):
                fresh.of(row)

    def peer() -> None:
        for _ in range(repeats):
            for row in range(len(images)):
                np.load(folder / f"{row}-boxes.npy")
                np.load(folder / f"{row}-scores.npy")

    times = interleave({"ours": ours, "peer": peer}, least=effort.least(7), seconds=effort.seconds(5))
    ours_rate, peer_rate = (rate(repeats * len(images), times[name]) for name in ("ours", "peer"))
    note = f"the peer reads two .npy files an image, without a check of what they hold; {spread(times)}"
    return Row("proposals-kept", ours_rate, peer_rate, "images/s", READ_TARGET, notes=(note,))


def photograph(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Ellipses of every size on a mottled ground, and a little noise: H×W×3 uint8."""
    rng = np.random.default_rng(seed)
    height, width = shape
    coarse = rng.integers(60, 190, (height // 25, width // 25, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(rng.integers(4, width // 5)), int(rng.integers(4, height // 5))
        cv2.ellipse(image, centre, axes, float(rng.integers(180)), 0, 360, rng.integers(0, 256, 3).tolist(), -1)
    return (image + rng.normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)


def written(folder: Path, images: list[np.ndarray]) -> ImageSet:
    """A set whose pixels lie in a file."""
    path = folder / "images.bin"
    np.concatenate([image.ravel() for image in images]).tofile(path)
    pixels = PixelStore(np.fromfile(path, np.uint8), np.array([image.shape for image in images]), path=path)
    ids = np.array([f"{row:03}" for row in range(len(images))], object)
    none = np.zeros(len(images), bool)
    return ImageSet(ids, pixels, None, pd.DataFrame(index=ids), "", np.full(len(images), np.nan), None, none)
