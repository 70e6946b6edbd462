"""Tables at the end of a verb's work."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from segfold.cli.experiment import disagreement
from segfold.errors import SegfoldError
from segfold.runs.folder import RunFolder, read_done
from segfold.training.progress import duration

_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "score": lambda done: f"{done['score']:.4f}",
    "± se": lambda done: f"{done['standard_error']:.4f}",
    "IoU": lambda done: f"{done['iou']:.4f}",
    "Dice": lambda done: f"{done['dice']:.4f}",
    "epochs": lambda done: str(done["epochs"]),
    "samples": lambda done: f"{done['samples']:,}",
    "img/s": lambda done: f"{done['samples'] / max(done['seconds'], 1e-9):.1f}",
    "time": lambda done: duration(done["seconds"]),
}


def fold_table(folder: RunFolder, done: dict[str, Any]) -> None:
    """The finished folds of a run, the present one marked."""
    if problem := run_table(folder, done["fold"]):
        print(f"no mean over folds: {problem}")


def run_table(folder: RunFolder, present: int | None = None) -> str | None:
    """The finished folds of a run with their mean.

    Args:
        present: number of the fold to mark.

    Returns:
        Why no mean is shown, see :func:`comparable_folds`.
    """
    table = Table(title=f"{folder.path}", title_justify="left")
    for column in ("fold", *_COLUMNS):
        table.add_column(column, justify="right")
    found, problem = comparable_folds(folder)
    for number, values in found.items():
        table.add_row(str(number) + "*" * (number == present), *(_cell(values, name) for name in _COLUMNS))
    Console().print(table)
    if problem is None and len(found) > 1:
        print(mean_line([values["score"] for values in found.values()]))
    return problem


def comparable_folds(folder: RunFolder) -> tuple[dict[int, dict[str, Any]], str | None]:
    """What the ``done.json`` of each readable finished fold holds, and why they have no mean; None if they have one.

    They have none where one cannot be read, or where they differ in what all folds of a run should share.
    """
    found: dict[int, dict[str, Any]] = {}
    unreadable = None
    for fold in folder.finished_folds():
        try:
            found[fold.number] = read_done(fold)
        except SegfoldError as error:
            unreadable = str(error)
    if unreadable is None and found and (differing := disagreement(found)):
        return found, f"{folder.path}: {differing}; move that fold's folder away and train it again"
    return found, unreadable


def _cell(done: Mapping[str, Any], column: str) -> str:
    try:
        return _COLUMNS[column](done)
    except (KeyError, TypeError, ValueError):
        return "–"  # another version did not record it


def mean_line(scores: list[float]) -> str:
    """Mean over folds and its standard error, as a line of text."""
    mean = sum(scores) / len(scores)
    spread = math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)) if len(scores) > 1 else 0.0
    return f"mean over {len(scores)} folds: {mean:.4f} ± {spread / math.sqrt(len(scores)):.4f}"
