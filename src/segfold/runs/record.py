"""What a run folder says of itself: ``run.json`` of its network, ``config.yaml``, and ``done.json`` of each fold.

With these a network is rebuilt and its predictions are read where there is neither data nor a competition file.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from segfold.competition import Competition
from segfold.config import check_experiment
from segfold.errors import SegfoldError, one_line, shown
from segfold.files import read_json, write_json
from segfold.runs.folder import FoldFolder, RunFolder
from segfold.settings import Experiment
from segfold.yaml_file import read_yaml

FORMAT = 1
"""Of run folders; raised when what an older segfold would make of one is wrong. Folders from before ``run.json`` have none."""

_DONE: dict[str, Any] = {"competition": str, "fold": int, "score": int | float, "held_out": list, "weights": dict}
_DONE |= {"data_hash": str, "folds_hash": str}
"""What every ``done.json`` holds, whatever the version that wrote it."""

_LONGEST = 1000
"""Characters of the reason why a training ended."""


@dataclass(frozen=True)
class RunRecord:
    """What a run's networks take and give.

    Attributes:
        competition: as its file was when the run began: task, classes, metric and all.
        image_channels: of the competition's images; the network's input may have further ones, see ``input.channels``.
        mean: of each channel of the network's input in 0…1, which the network subtracts.
        std: of each channel in 0…1, which it then divides by.
    """

    competition: Competition
    image_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def write_record(folder: RunFolder, record: RunRecord) -> None:
    """Write ``run.json``."""
    competition = record.competition
    write_json(
        folder.record_path,
        {
            "format": FORMAT,
            "task": competition.task.name,
            "classes": list(competition.classes),
            "image_channels": record.image_channels,
            "normalisation": {"mean": list(record.mean), "std": list(record.std)},
            "competition": competition.model_dump(mode="json", by_alias=True),
        },
    )


def read_record(folder: RunFolder) -> RunRecord | None:
    """What ``run.json`` holds; None in a folder of a segfold that wrote none, for which data must be there.

    Raises:
        SegfoldError: a format of a newer segfold, or a file that is damaged.
    """
    path = folder.record_path
    if not path.exists():
        return None
    values = read_json(path)
    found = values.get("format") if isinstance(values, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise SegfoldError(
            f"{folder.path} is a run folder of format {found}, this segfold reads up to {FORMAT}; update segfold to use it"
        )
    try:
        normalisation = values["normalisation"]
        mean, std = (tuple(float(value) for value in normalisation[name]) for name in ("mean", "std"))
        return RunRecord(Competition.model_validate(values["competition"]), int(values["image_channels"]), mean, std)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise SegfoldError(
            f"{path} cannot be used ({shown(str(error))}); restore it, or remove it to read the run with its data"
        ) from None


def read_run(folder: RunFolder) -> Experiment:
    """Experiment that a run folder was trained with.

    Raises:
        SegfoldError: ``config.yaml`` cannot be read, or is of a version with other settings.
    """
    return check_experiment(read_yaml(folder.config_path), str(folder.config_path))


def fold_count(experiment: Experiment, competition: Competition) -> int:
    """How many folds there are: one where the competition has a validation split of its own, and it is to be used."""
    given = experiment.folds.given and experiment.folds.file is None and competition.has_split
    return 1 if given else experiment.folds.k


def note_failed(fold: FoldFolder, error: Exception) -> None:
    """Writes why a fold's training ended, where it had begun and is not finished. Never raises: the disk may be full."""
    reason = str(error) if isinstance(error, SegfoldError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(Exception):
        if fold.last.exists() and not fold.finished:
            values = {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "reason": one_line(reason)[:_LONGEST]}
            write_json(fold.failed, values)


def forget_failed(fold: FoldFolder) -> None:
    """Removes what ``note_failed`` has written."""
    with contextlib.suppress(OSError):
        fold.failed.unlink()


def read_done(fold: FoldFolder) -> dict[str, Any]:
    """What a finished fold's ``done.json`` holds.

    Raises:
        SegfoldError: it cannot be read, lacks something, or is of another fold (a folder that was copied or renamed).
    """
    done = read_json(fold.done)
    values = done if isinstance(done, dict) else {}
    lacking = [name for name, kind in _DONE.items() if not isinstance(values.get(name), kind)]
    if lacking:
        raise SegfoldError(
            f"{fold.done} lacks {', '.join(lacking)}; restore it, or move {fold.path} away and train again"
        )
    if values["fold"] != fold.number:
        raise SegfoldError(
            f"{fold.path} holds fold {values['fold']}, copied or renamed; rename it back, or remove the copy"
        )
    return values


def recorded_inputs(done: Mapping[str, Any]) -> dict[str, Any]:
    """The hashes of data, tables and folds that ``done.json`` holds, by what they are of."""
    return {name.removesuffix("_hash"): value for name, value in done.items() if name.endswith("_hash")}
