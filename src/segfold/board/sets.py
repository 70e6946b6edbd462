"""The training set as the page shows it: ids, sizes, coverage, the truth as run lengths, thumbnails and pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from segfold.board.kept import Kept, key_of
from segfold.board.masks import pack
from segfold.board.pictures import write_pictures
from segfold.board.places import file_stem
from segfold.board.script import write_script
from segfold.competition import Competition
from segfold.data.images import ImageSet


def set_name(competition: Competition, what: str) -> str:
    """Name of what the board has of a competition's images: a data script, or a folder.

    Args:
        what: ``train``, ``disputed`` or ``data``.
    """
    return f"sets/{file_stem(competition.name)}/{what}"


def write_set(kept: Kept, files: Path, competition: Competition, train: ImageSet) -> str:
    """Writes the training set's script, thumbnails and pictures, where they are not there yet.

    Args:
        files: the board's folder, ``board-files``.
        train: with masks.

    Returns:
        The name of the script.

    Raises:
        SegfoldError: an image cannot be read any more, the disk is full.
    """
    assert train.areas is not None and train.masks is not None
    name, task, masks = set_name(competition, "train"), train.task, train.masks
    record = {
        "competition": competition.name,
        **plain_facts(train),
        "coverage": train.coverage.round(6).tolist(),
        "areas": {label: train.areas[:, index].tolist() for index, label in enumerate(task.classes)},
        "groups": None if train.groups is None else [str(group) for group in train.groups],
        **write_pictures(kept, files, name, train, range(len(train)), competition.name),
    }
    key = key_of(train.fingerprint, task.name, task.background, record)
    kept.build(f"{name}.js", key, lambda path: write_script(path, name, {**record, "truth": pack(masks, task)}))
    return name


def plain_facts(images: ImageSet, rows: np.ndarray | None = None) -> dict[str, Any]:
    """What is known of images by themselves: ``ids``; ``height`` and ``width``, a number where all are alike; ``tables``.

    Args:
        rows: indices of some of them; None for all.
    """
    chosen = np.arange(len(images)) if rows is None else np.asarray(rows, np.int64)
    ids, shapes = images.ids[chosen], images.images.shapes[chosen]
    numbers = images.extra.reindex(ids)
    return {
        "ids": [str(name) for name in ids],
        "height": one_or_all(shapes[:, 0]),
        "width": one_or_all(shapes[:, 1]),
        "tables": {str(column): numbers[column].to_numpy(float).tolist() for column in numbers.columns},
    }


def one_or_all(numbers: np.ndarray) -> int | list[int]:
    """A number that all share, else all of them."""
    return int(numbers[0]) if len(numbers) and (numbers == numbers[0]).all() else numbers.tolist()
