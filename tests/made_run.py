"""Finished runs made by hand: settings, records and stored predictions, and no network behind them."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segfold.competition import load_competition
from segfold.config import dump, dump_yaml
from segfold.data.images import load_split
from segfold.files import read_json, write_json
from segfold.inference.stored import prediction_meta, tta_name
from segfold.runs.folder import RunFolder
from segfold.store.writer import StoreWriter
from small_project import fold_job

Painter = Callable[[str, np.ndarray | None, int], np.ndarray]
"""Of an image's id, its true mask (None of a test image) and the fold: H×W probabilities, C×H×W of several classes."""


def bright(name: str, mask: np.ndarray | None, fold: int) -> np.ndarray:
    """The truth a little blurred; of a test image, a square."""
    if mask is None:
        mask = np.zeros((28, 26), np.uint8)
        mask[5:15, 5:15] = 1
    return np.where(mask > 0, 0.9, 0.1)


def made_run(
    home: Path,
    name: str,
    *overrides: str,
    folds: Iterable[int] = (0, 1),
    paint: Painter = bright,
    sets: int = 0,
    heads: Callable[[str, np.ndarray | None, int], Sequence[float]] | None = None,
) -> RunFolder:
    """``runs/<name>`` of a project, with finished folds that have predicted both splits.

    Args:
        overrides: of ``configs/small.yaml``.
        paint: what the folds have predicted.
        sets: how many snapshots there are beside ``model``, with the predictions of ``model``.
        heads: what the image heads say, of the same: logits, one a view.
    """
    run = RunFolder(home / "runs" / name)
    for number in folds:
        job = fold_job(home, *overrides, fold=number, run=name)
        test = load_split(load_competition(job.experiment.competition, home), "test", home)
        names = ["model", *(f"snapshot{count + 1}" for count in range(sets))]
        digests = {each: hashlib.sha256(f"{name} {number} {each}".encode()).hexdigest() for each in names}
        job.folder.path.mkdir(parents=True)
        for split, images, rows in (("oof", job.images, job.validation_rows), ("test", test, np.arange(len(test)))):
            for each, digest in digests.items():
                folder = job.folder.predictions(each, tta_name(job.experiment.predict.tta))
                meta = prediction_meta(digest, job.experiment, images)
                planes = len(job.competition.classes)
                shapes = [(planes, *images.images.shapes[row, :2]) for row in rows]
                with StoreWriter(folder, split, images.ids[rows], shapes, meta) as writer:
                    for row in rows:
                        mask = None if images.masks is None else images.masks[row]
                        image_id = str(images.ids[row])
                        said = None if heads is None else heads(image_id, mask, number)
                        painted = paint(image_id, mask, number)
                        writer.append(image_id, painted.reshape(-1, *painted.shape[-2:]), said)
                    writer.finish()
        run.config_path.write_text(dump_yaml(job.experiment))
        record = {
            "competition": job.competition.name,
            "metric": job.competition.metric,
            "fold": number,
            "score": 0.5 + number / 10,
            **{"standard_error": 0.01, "iou": 0.5, "dice": 0.6, "epochs": 3, "samples": 30, "seconds": 6.0},
            "held_out": list(job.images.ids[job.validation_rows]),
            "weights": digests,
            **{f"{part}_hash": value for part, value in job.bound.items()},
            "settings": dump(job.experiment),
        }
        write_json(job.folder.done, record)
        write_json(run.environment_path, {**job.bound})
    return run


def change_json(path: Path, **values: Any) -> None:
    """Sets values in a JSON file; None removes one."""
    record = read_json(path) | values
    write_json(path, {name: value for name, value in record.items() if value is not None})
