"""Of a finished fold: its held-out images with scores and masks, for the page, and the sums that curves are made of."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.board.fold_sums import FoldSums
from segfold.board.kept import key_of
from segfold.board.masks import Packer
from segfold.board.scored_store import ScoredStore, scored_store, store_inputs
from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.metrics import Counts
from segfold.runs.folder import FoldFolder, RunFolder
from segfold.settings import Experiment
from segfold.store import HALF
from segfold.tasks import Mask, Task


@dataclass(frozen=True)
class FoldImages:
    """What a board shows of a fold's images.

    Attributes:
        record: the script ``images/…``; None where the masks cannot be shown.
        sums: see ``FoldSums.record``; None without data.
        reason: one line that says why there is no record; None where there is one.
    """

    record: dict[str, Any] | None
    sums: dict[str, Any] | None
    reason: str | None = None


def fold_images(
    folder: FoldFolder,
    done: Mapping[str, Any],
    experiment: Experiment | None,
    competition: Competition,
    train: ImageSet | None,
) -> FoldImages:
    """The masks that a fold's scores are of, and the scores. Never raises for what lies in a run folder.

    Args:
        done: what ``done.json`` holds, see ``read_done``.
        experiment: the run's settings, which folds of older versions need; None where they cannot be read.
        train: None without data: there are masks, scores and mostly coverage, and no sums.
    """
    try:
        scored = scored_store(folder, done, experiment, competition)
        rows = None if train is None else _rows(scored, done, train, competition)
        return _made(folder, scored, competition, train, rows)
    except (SegfoldError, OSError) as error:
        return FoldImages(None, None, str(error))


def fold_key(
    folder: FoldFolder,
    done: Mapping[str, Any],
    experiment: Experiment | None,
    competition: Competition,
    train: ImageSet | None,
) -> str:
    """A key of all that ``fold_images`` makes its files from."""
    data = None if train is None else [train.fingerprint, list(train.extra.columns), _digest(train.extra.to_numpy())]
    about = competition.model_dump(
        mode="json", by_alias=True, include={"name", "task_name", "classes", "background", "scoring"}
    )
    return key_of(RunFolder(folder.path.parent).name, folder.done, *store_inputs(folder, done, experiment), about, data)


def _digest(numbers: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(numbers).tobytes()).hexdigest()


def _rows(
    scored: ScoredStore, done: Mapping[str, Any], train: ImageSet, competition: Competition
) -> npt.NDArray[np.int64]:
    """The fold's images in the data.

    Raises:
        SegfoldError: the data is not what the fold was scored on.
    """
    if train.fingerprint != done["data_hash"]:
        raise SegfoldError(
            f"scored on other data than data/{competition.name} holds now; import the data that it was trained on"
        )
    rows = train.position(scored.store.ids)
    if not np.array_equal(train.images.shapes[rows, :2], scored.store.shapes[:, 1:]):
        raise SegfoldError(f"{scored.folder} holds images of other sizes than data/{competition.name}; delete it")
    return rows


def _made(
    folder: FoldFolder,
    scored: ScoredStore,
    competition: Competition,
    train: ImageSet | None,
    rows: npt.NDArray[np.int64] | None,
) -> FoldImages:
    task = competition.task
    plain = task.plain(HALF)
    packer = Packer(task)
    sums = None if train is None or rows is None else FoldSums(train, rows, competition.scorer)
    for block in scored.blocks():
        decided = [(row, codes, task.decided(codes, plain)) for row, codes in block]
        for _, _, mask in decided:
            packer.add(mask)
        places = [row for row, _ in block]
        wanted = Counts(*(array[places] for array in scored.counts))
        if sums is not None:
            fits = all(np.array_equal(*pair) for pair in zip(sums.add(decided), wanted))
        else:
            fits = _may_be_of([mask for _, _, mask in decided], wanted, task)
        if not fits:
            raise SegfoldError(f"{folder.scores} is of other predictions than {scored.folder} holds; delete the latter")
    coverage = _coverage(scored, task) if train is None or rows is None else train.coverage[rows].tolist()
    record = {
        "run": RunFolder(folder.path.parent).name,
        "fold": folder.number,
        "ids": scored.store.ids.tolist(),
        "coverage": [None if share is None else round(share, 6) for share in coverage],
        "scores": scored.scores,
        "masks": packer.packed(),
    }
    return FoldImages(record, None if sums is None else sums.record())


def _may_be_of(masks: list[Mask], counts: Counts, task: Task) -> bool:
    """Whether areas fit to masks as far as can be told without the truth, whose void is in no area."""
    areas = np.array([task.areas(mask) for mask in masks])
    return bool((areas >= counts.pred_area).all() if task.exclusive else np.array_equal(areas, counts.pred_area))


def _coverage(scored: ScoredStore, task: Task) -> list[float] | list[None]:
    """Share of true foreground, from the areas; of classes that may overlap they do not say it."""
    if len(task.classes) > 1 and not task.exclusive:
        return [None] * len(scored.store)
    pixels = scored.store.shapes[:, 1] * scored.store.shapes[:, 2]
    return (scored.counts.truth_area[:, list(task.rows)].sum(axis=1) / pixels).tolist()
