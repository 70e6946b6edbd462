"""Competitions of each form of submission, and masks for them."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from segfold.competition import Competition

IDS = ("b", "00123", "1e1000")
SHAPES = {"b": (6, 7), "00123": (5, 4), "1e1000": (6, 7)}


def competition(task: str = "binary", classes: tuple[str, ...] = ("blob",), **changes: Any) -> Competition:
    metric = {"binary": "dice", "multilabel": "dice", "multiclass": "miou"}[task]
    fields = {"name": "x", "title": "X", "layout": "kaggle-rle", "task": task, "classes": classes, "metric": metric}
    return Competition.model_validate({**fields, **changes})


STEEL = competition("multilabel", ("1", "2", "3"), key="{id}.jpg_{class}", rows="class", id_column="ImageId")
ORGANS = competition("multilabel", ("bowel", "stomach"), class_column="class", rows="class", rle_order="row")
SHIPS = competition(key="{id}.jpg", rows="instance", metric="object_f2")
CHESTS = competition(rle_relative=True, empty="-1", rle_order="row")
CELLS = competition("multiclass", ("sky", "cell", "wall"), background=0, key="{class}/{id}", rows="instance", empty="-")
STREETS = competition("multiclass", ("sky", "road", "car"), void=255, submission={"form": "png"})
ROOFS = competition(submission={"form": "png"})
ANIMALS = competition("multiclass", ("none", "cat", "dog"), background=0, void=9, key="{id}_{class}", rows="class")
ALL = {
    "steel": STEEL,
    "organs": ORGANS,
    "ships": SHIPS,
    "chests": CHESTS,
    "cells": CELLS,
    "animals": ANIMALS,
    "streets": STREETS,
    "roofs": ROOFS,
}


def random_masks(given: Competition, seed: int = 0) -> dict[str, np.ndarray]:
    """A mask of the task for each image, the last one as empty as it can be."""
    rng = np.random.default_rng(seed)
    high = {"binary": 2, "multiclass": len(given.classes), "multilabel": 1 << len(given.classes)}[given.task_name]
    masks = {name: rng.integers(0, high, shape).astype(np.uint8) for name, shape in SHAPES.items()}
    masks[IDS[-1]][:] = 0
    return masks


def plane(given: Competition, mask: np.ndarray, label: int) -> np.ndarray:
    """Pixels of a class, said anew for each task."""
    if given.task_name == "multiclass":
        return mask == label
    return mask & 1 << label > 0


def flood(mask: np.ndarray, order: str) -> list[np.ndarray]:
    """The 8-connected components, one pixel after the other; in the order of their first pixels."""
    height, width = mask.shape
    places = (
        [(y, x) for x in range(width) for y in range(height)] if order == "column" else list(np.ndindex(mask.shape))
    )
    left, found = {place for place in places if mask[place]}, []
    for place in places:
        if place not in left:
            continue
        found.append(np.zeros(mask.shape, bool))
        left.remove(place)
        waiting = deque([place])
        while waiting:
            y, x = waiting.popleft()
            found[-1][y, x] = True
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting.extend(near)
    return found


def sample(given: Competition, home: Path, text: str) -> None:
    folder = home / "data" / given.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sample_submission.csv").write_text(text)
