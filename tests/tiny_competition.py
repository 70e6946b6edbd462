"""A competition of a few random images, in the layout that Kaggle gives out."""

from pathlib import Path

import cv2
import numpy as np

from segfold.competition import Competition

TINY = Competition(
    name="tiny",
    title="Tiny",
    slug="tiny-slug",
    layout="kaggle-rle",
    task="binary",
    classes=("blob",),
    metric="precision",
    tables={"depth": {"file": "depths.csv", "column": "z"}},
)

# Ids that a number parser would mangle, one of them to infinity.
TRAIN_IDS = ("00123", "1e1000", "0b", "nan", "a7")
TEST_IDS = ("7e2", "NA", "zz")


def brute_force_rle(mask: np.ndarray) -> str:
    """Pixel by pixel down the columns, 1-indexed."""
    runs: list[list[int]] = []
    for place, value in enumerate(mask.T.reshape(-1), start=1):
        if value and runs and sum(runs[-1]) == place:
            runs[-1][1] += 1
        elif value:
            runs.append([place, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


def write_image(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[:, :, ::-1] if rgb.ndim == 3 and rgb.shape[2] == 3 else rgb)


def write_tiny(root: Path, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Writes train and test below ``root``; returns images (of both) and masks by id.

    Images differ in size. Masks are uint16 files of 0 and 65535, the empty one is a uint8 file, as in the
    salt competition.
    """
    rng = np.random.default_rng(seed)
    images: dict[str, np.ndarray] = {}
    masks: dict[str, np.ndarray] = {}
    for row, name in enumerate(TRAIN_IDS + TEST_IDS):
        split = "train" if name in TRAIN_IDS else "test"
        height, width = 6 + row, 5 + row % 3
        images[name] = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if name == "a7":
            images[name][:] = 0
        write_image(root / split / "images" / f"{name}.png", images[name])
        if split == "train":
            mask = (rng.random((height, width)) < 0.4) if name != "a7" else np.zeros((height, width), bool)
            masks[name] = mask.astype(np.uint8)
            stored = mask.astype(np.uint16) * 65535 if mask.any() else masks[name]
            write_image(root / "train" / "masks" / f"{name}.png", stored)
    write_tables(root, masks)
    return images, masks


def write_tables(root: Path, masks: dict[str, np.ndarray]) -> None:
    lines = [f"{name},{brute_force_rle(mask)}" for name, mask in masks.items()]
    (root / "train.csv").write_text("\n".join(["id,rle_mask", *lines]) + "\n")
    (root / "sample_submission.csv").write_text("\n".join(["id,rle_mask", *(f"{x},1 1" for x in TEST_IDS)]) + "\n")
    depths = [f"{name},{50 + row}" for row, name in enumerate(TRAIN_IDS + TEST_IDS)]
    (root / "depths.csv").write_text("\n".join(["id,z", *depths]) + "\n")
