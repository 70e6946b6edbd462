"""Tables at the end of a verb's work."""

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from segfold.runs import RunFolder, read_json
from segfold.training.progress import duration


def fold_table(folder: RunFolder, done: dict[str, Any]) -> None:
    """The finished folds of a run, the present one marked."""
    run_table(folder, done["fold"])


def run_table(folder: RunFolder, present: int | None = None) -> None:
    """The finished folds of a run with their mean.

    Args:
        present: number of the fold to mark.
    """
    table = Table(title=f"{folder.path}", title_justify="left")
    for column in ("fold", "score", "± se", "IoU", "Dice", "epochs", "samples", "img/s", "time"):
        table.add_column(column, justify="right")
    scores = []
    for fold in folder.finished_folds():
        values = read_json(fold.done)
        scores.append(values["score"])
        table.add_row(
            str(values["fold"]) + ("*" if values["fold"] == present else ""),
            f"{values['score']:.4f}",
            f"{values['standard_error']:.4f}",
            f"{values['iou']:.4f}",
            f"{values['dice']:.4f}",
            str(values["epochs"]),
            f"{values['samples']:,}",
            f"{values['samples'] / max(values['seconds'], 1e-9):.1f}",
            duration(values["seconds"]),
        )
    Console().print(table)
    if len(scores) > 1:
        print(mean_line(scores))


def mean_line(scores: list[float]) -> str:
    """Mean over folds and its standard error, as a line of text."""
    mean = sum(scores) / len(scores)
    spread = math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)) if len(scores) > 1 else 0.0
    return f"mean over {len(scores)} folds: {mean:.4f} ± {spread / math.sqrt(len(scores)):.4f}"
