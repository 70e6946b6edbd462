"""Tables at the end of a verb's work."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from segfold.cli.progress import duration
from segfold.ensemble import Decision
from segfold.runs.folder import RunFolder
from segfold.runs.identity import comparable_folds
from segfold.submission.blended import Submitted

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
        Why no mean is shown, see ``comparable_folds``.
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


def submission_tables(made: Submitted) -> None:
    """What a submission was made of, what it scores out of fold, and where it is."""
    competition, decision, written = made.competition, made.decision, made.written
    console = Console()
    runs = Table(title=f"ensemble for {competition.name}", title_justify="left")
    for name in ("run", "folds", "weight", "mean fold score"):
        runs.add_column(name, justify="left" if name == "run" else "right")
    for entry in (member.entry for member in made.members):
        scores = [done["score"] for done in entry.done.values()]
        runs.add_row(entry.label, ",".join(map(str, sorted(entry.done))), f"{entry.weight:g}", f"{np.mean(scores):.4f}")
    console.print(runs)
    table = Table(title=f"out of fold, {decision.plain.images:,} images, {competition.metric}", title_justify="left")
    for name in ("", "threshold", "smallest component", "score ± se"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("plain", "0.50", "0", str(decision.plain))
    table.add_row("as tuned (flatters)", f"{decision.threshold:.2f}", str(decision.min_area), str(decision.tuned))
    if decision.nested is not None:
        table.add_row(f"nested over {decision.nested_over}", "", "", str(decision.nested))
    console.print(table)
    if written.manifest["mixed_folds"]:
        print(
            "no nested score: the runs use different fold files (--mixed-folds), so any decision has seen what it is scored on"
        )
    for line in _edge_lines(decision):
        print(line)
    share = written.manifest["empty_share"]
    print(f"empty masks: {share:.1%} predicted, {made.empty_truth:.1%} in the training set")
    print(
        f"{written.path}: " + ("the same as before, left as it is" if written.kept else "checked; manifest beside it")
    )


def _edge_lines(decision: Decision) -> Iterator[str]:
    if "threshold" in decision.at_edge:
        yield (
            f"the best threshold, {decision.threshold:.2f}, is the last one that was tried: "
            "a better one may lie beyond, set it with --threshold"
        )
    if "min_area" in decision.at_edge:
        yield (
            f"the best smallest component, {decision.min_area} pixels, is the largest that was tried: "
            "a better one may lie beyond, set it with --min-area"
        )
