"""A finished fold as training leaves it, of images and predictions that are made here, and no network behind it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.files import read_json, write_json
from segfold.runs.folder import FoldFolder, RunFolder
from segfold.store import MeanStore, ProbabilityStore
from segfold.store.writer import StoreWriter
from segfold.tasks import Task
from segfold.training.validation import class_scores, scores_of, store_tally, write_scores
from small_images import store

DATA = "d" * 64
TTA = ["identity", "hflip"]


def competition(task: str, classes: Sequence[str], metric: Any = "precision", **more: Any) -> Competition:
    return Competition.model_validate(
        {"name": "made", "title": "Made", "layout": "kaggle-rle", "task": task, "classes": classes, "metric": metric}
        | more
    )


def blobs(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """count×H×W smooth noise in -1…1."""
    import cv2

    noise = [cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), max(1.0, min(shape) / 8)) for _ in range(count)]
    return np.array([each / max(np.abs(each).max(), 1e-9) for each in noise])


def truth_of(task: Task, fields: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An H×W mask of the task where smooth fields are high, with void where the task knows it; some are empty."""
    if task.exclusive:
        mask = fields.argmax(axis=0).astype(np.uint8)
        mask[rng.random(mask.shape) < 0.05] = 255
        return mask
    if rng.random() < 0.3:
        return np.zeros(fields.shape[1:], task.dtype)
    return sum((field > 0.2).astype(task.dtype) << bit for bit, field in enumerate(fields))  # type: ignore[return-value]


def images_of(task: Task, shapes: Sequence[tuple[int, int]], seed: int = 0, **changes: Any) -> ImageSet:
    """Images whose truths are smooth shapes, with a depth each."""
    rng = np.random.default_rng(seed)
    masks = [truth_of(task, blobs(rng, shape, len(task.classes)), rng) for shape in shapes]
    ids = np.array([f"{number:03}e{number}" for number in range(len(shapes))], object)
    planes = [task.planes(mask) for mask in masks]
    seen = [np.any([plane for bit, plane in enumerate(each) if bit in task.rows], axis=0) for each in planes]
    arguments: dict[str, Any] = {
        "ids": ids,
        "images": store([np.zeros((*shape, 1), np.uint8) for shape in shapes]),
        "masks": store(masks, masks=True),
        "extra": pd.DataFrame({"depth": rng.integers(50, 960, len(ids)).astype(float)}, index=ids),
        "limits": {"depth": (50.0, 960.0)},
        "fingerprint": DATA,
        "coverage": np.array([each.mean() for each in seen]),
        "groups": None,
        "constant": np.zeros(len(ids), bool),
        "task": task,
    }
    return ImageSet(**{**arguments, **changes})


def predictions(images: ImageSet, seed: int = 0) -> list[np.ndarray]:
    """C×H×W probabilities of each image, which resemble its truth."""
    rng = np.random.default_rng(seed + 1000)
    assert images.masks is not None
    found = []
    for mask in images.masks:
        planes = images.task.planes(mask)
        logits = 2.5 * planes - 1.25 + 3 * blobs(rng, mask.shape, len(planes)) + 0.2 * rng.standard_normal(planes.shape)
        if images.task.exclusive:
            exp = np.exp(2 * logits)
            found.append((exp / exp.sum(axis=0)).astype(np.float32))
        else:
            found.append((1 / (1 + np.exp(-logits))).astype(np.float32))
    return found


@dataclass
class ScoredFold:
    """Attributes:
    folder: as training leaves it: stores, ``scores.csv``, ``done.json``.
    rows: of its images in ``images``.
    codes: C×H×W of each, as they were scored.
    """

    folder: FoldFolder
    competition: Competition
    images: ImageSet
    rows: np.ndarray
    codes: list[np.ndarray]

    @property
    def done(self) -> dict[str, Any]:
        return read_json(self.folder.done)

    @property
    def masks(self) -> list[np.ndarray]:
        """What is decided from the codes, by numpy alone."""
        task = self.competition.task
        if task.exclusive:
            return [codes.argmax(axis=0) for codes in self.codes]
        return [sum((plane >= 32768).astype(int) << bit for bit, plane in enumerate(codes)) for codes in self.codes]  # type: ignore[misc]

    @property
    def truths(self) -> list[np.ndarray]:
        assert self.images.masks is not None
        return [self.images.masks[row] for row in self.rows]


def scored_fold(
    home: Path,
    competition: Competition,
    images: ImageSet,
    rows: Sequence[int] | None = None,
    fold: int = 0,
    sets: Sequence[str] = ("model",),
    made: Sequence[str] | None = None,
) -> ScoredFold:
    """``runs/made/fold<k>``.

    Args:
        rows: the images that it has held out; None for all.
        sets: names of the weights whose mean was scored.
        made: names of all that its training made.
    """
    folder = RunFolder(home / "runs" / "made").fold(fold)
    chosen = np.arange(len(images)) if rows is None else np.asarray(rows)
    ids = [str(images.ids[row]) for row in chosen]
    stores: list[ProbabilityStore] = []
    digests = {name: hashlib.sha256(f"{fold} {name}".encode()).hexdigest() for name in made or sets}
    for seed, (name, digest) in enumerate(digests.items()):
        painted = predictions(images, 10 * fold + seed)
        shapes = [painted[row].shape for row in chosen]
        meta = {"weights": digest, "data": images.fingerprint, "tta": TTA}
        with StoreWriter(folder.predictions(name, "+".join(TTA)), "oof", ids, shapes, meta) as writer:
            for image_id, row in zip(ids, chosen):
                writer.append(image_id, painted[row])
            if name in sets:
                stores.append(writer.finish())
            else:
                writer.finish()
    scored = stores[0] if len(stores) == 1 else MeanStore(stores)
    tally = store_tally(scored, images, competition)
    write_scores(folder.scores, fold, ids, tally, images.task)
    classes = {
        name: {"iou": round(each.mean, 6), "standard_error": round(each.standard_error or 0.0, 6)}
        for name, each in class_scores(tally, images.task).items()
    }
    done = {
        "competition": competition.name,
        "fold": fold,
        **scores_of(tally, competition.scorer, images.task).as_record(),
        **({"classes": classes} if classes else {}),
        "held_out": ids,
        "predicted_with": list(sets),
        "weights": digests,
        "data_hash": images.fingerprint,
        "folds_hash": "f" * 64,
        "settings": {"predict": {"weights": list(sets), "tta": TTA}},
    }
    write_json(folder.done, done)
    return ScoredFold(folder, competition, images, chosen, [scored.codes(row) for row in range(len(ids))])
