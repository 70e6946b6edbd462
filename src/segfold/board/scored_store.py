"""The predictions that a finished fold's scores are of: found without a network and without data, and proven to be those.

``scores.csv`` and the probability stores are files of their own; a store may be gone, damaged, or predicted anew since
with other weights. Masks are shown beside scores only where the two belong together.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.inference.stored import tta_name, weights_names
from segfold.metrics import IMAGE_SCORES, Counts
from segfold.runs.folder import FoldFolder
from segfold.settings import Experiment
from segfold.store import MeanStore, Probabilities, ProbabilityStore, open_store
from segfold.store.reader import image_path, read_entries, sampled_digest
from segfold.tasks import Task

_SPLIT = "oof"
_BLOCK = 1 << 22  # codes that are read at once


@dataclass(frozen=True)
class ScoredStore:
    """The held-out images of a fold.

    Attributes:
        folder: of the store, or of the first of several.
        store: what was scored, with images in the order of ``scores.csv``.
        scores: by name, a number an image, as ``scores.csv`` has them.
        counts: (N, C) pixels of each image and class, as ``scores.csv`` has them.
    """

    folder: Path
    store: Probabilities
    scores: dict[str, list[float]]
    counts: Counts

    def blocks(self) -> Iterator[list[tuple[int, npt.NDArray[np.uint16]]]]:
        """All images, some at a time: the row of each, and its C×H×W codes."""
        rows: list[int] = []
        held = 0
        for row, size in enumerate(self.store.shapes.prod(axis=1).tolist()):
            if rows and held + size > _BLOCK:
                yield self._read(rows)
                rows, held = [], 0
            rows.append(row)
            held += size
        if rows:
            yield self._read(rows)

    def _read(self, rows: list[int]) -> list[tuple[int, npt.NDArray[np.uint16]]]:
        shapes = self.store.shapes[rows]
        codes = np.split(self.store.codes_of(rows), np.cumsum(shapes.prod(axis=1))[:-1])
        return [(row, flat.reshape(shape)) for row, flat, shape in zip(rows, codes, shapes)]


def scored_store(
    folder: FoldFolder, done: Mapping[str, Any], experiment: Experiment | None, competition: Competition
) -> ScoredStore:
    """What a fold's scores are of.

    Args:
        done: what ``done.json`` holds, see ``read_done``.
        experiment: the run's settings, for folds of versions that did not record how they were scored; None where they
            cannot be read.

    Raises:
        SegfoldError: a store or ``scores.csv`` is not there, is damaged, or is of other weights, data or images.
    """
    task = competition.task
    stores = [_open(place, digest, done) for place, digest in _places(folder, done, experiment).items()]
    store: Probabilities = stores[0] if len(stores) == 1 else MeanStore(stores)
    if store.ids.tolist() != done["held_out"]:
        raise SegfoldError(
            f"{stores[0].path} holds other images than {folder.done} names; delete it to predict it anew"
        )
    if (store.shapes[:, 0] != len(task.classes)).any():
        raise SegfoldError(f"{stores[0].path} holds other classes than {competition.name} has; delete it")
    return ScoredStore(stores[0].path.parent, store, *_read_scores(folder.scores, done["held_out"], task))


def store_inputs(folder: FoldFolder, done: Mapping[str, Any], experiment: Experiment | None) -> list[Any]:
    """All on disk that ``scored_store`` looks at, for ``key_of``: what is damaged and then restored is another input."""
    found: list[Any] = [folder.scores]
    try:
        places = _places(folder, done, experiment)
    except SegfoldError as error:
        return [*found, str(error)]
    for place in places:
        found += [read_entries(place).get(_SPLIT), place / f"{_SPLIT}.csv", image_path(place, _SPLIT)]
        path = place / f"{_SPLIT}.u16"
        try:
            found += [path.stat().st_size, sampled_digest(path)]
        except OSError as error:
            found.append(error.errno)
    return found


def _places(folder: FoldFolder, done: Mapping[str, Any], experiment: Experiment | None) -> dict[Path, str]:
    """Folders of the stores whose mean was scored, and the sha256 of the weights that each was predicted with."""
    settings = done.get("settings")
    recorded = settings.get("predict") if isinstance(settings, Mapping) else None
    recorded = recorded if isinstance(recorded, Mapping) else {}
    weights, tta = done.get("predicted_with", recorded.get("weights")), recorded.get("tta")
    if experiment is not None:
        weights = list(experiment.predict.weights) if weights is None else weights
        tta = list(experiment.predict.tta) if tta is None else tta
    if tta is None or not _names(weights) or not _names(tta):
        raise SegfoldError(f"{folder.done} does not say with which weights and views it was scored")
    made = done["weights"]
    return {
        folder.predictions(name, tta_name(tuple(tta))): str(made[name]) for name in weights_names(weights, made, folder)
    }


def _names(values: Any) -> bool:
    return isinstance(values, Sequence) and bool(values) and all(isinstance(value, str) for value in values)


def _open(place: Path, digest: str, done: Mapping[str, Any]) -> ProbabilityStore:
    store = open_store(place, _SPLIT, None)
    if store is None:
        there = (place / "meta.json").exists()
        found = "is damaged or unfinished" if there else "is not there"
        raise SegfoldError(f"{place / f'{_SPLIT}.u16'} {found}; segfold predict makes it anew")
    meta = store.meta if isinstance(store.meta, Mapping) else {}
    for name, wanted, kind in (("weights", digest, "weights"), ("data", done["data_hash"], "data")):
        if meta.get(name) != wanted:
            raise SegfoldError(
                f"{store.path} was predicted with other {kind} than this fold was scored with; delete it"
            )
    return store


def _read_scores(path: Path, ids: Sequence[str], task: Task) -> tuple[dict[str, list[float]], Counts]:
    """Scores by name, and (N, C) counts, of images in this order."""
    single = len(task.classes) == 1
    areas = ("intersection", "predicted_area", "true_area")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns, *lines = csv.reader(file, strict=True)
        place = {name: index for index, name in enumerate(columns)}
        if [line[place["id"]] for line in lines] != list(ids):
            raise SegfoldError(f"{path} holds other images than the fold has held out; restore it")
        scores = {name: [float(line[place[name]]) for line in lines] for name in IMAGE_SCORES}
        inter, predicted, true = (
            np.array(
                [
                    [int(line[place[f"{name}:{each}" if not single else name]]) for each in task.classes]
                    for line in lines
                ],
                np.int64,
            ).reshape(len(lines), len(task.classes))
            for name in areas
        )
    except SegfoldError:
        raise
    except FileNotFoundError:
        raise SegfoldError(f"{path} is not there; restore it") from None
    except (OSError, ValueError, KeyError, IndexError, OverflowError, csv.Error) as error:
        raise SegfoldError(f"{path} cannot be read ({type(error).__name__}: {error}); restore it") from None
    return scores, Counts(inter, predicted + true - inter, predicted, true)
