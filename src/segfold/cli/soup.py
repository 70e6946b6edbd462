"""Average the weights of runs, fold by fold, into a run of its own, which predicts in the time of one.

The runs must have one architecture and share their fold file, and should have begun from the same weights. RUN@SET takes a
named set of a run's weights: runs/a@swa, runs/a@snapshots (all of them).
"""

import argparse
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, whole_number
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.soup import Soup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=user_path, metavar="RUN", help="run folders, or RUN@SET")
    parser.add_argument("--run", "--name", dest="run", required=True, help="name of the soup under runs/")
    parser.add_argument(
        "--fold", nargs="+", type=whole_number, metavar="K", help="these folds only (default: all that every run has)"
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: that of the first run)")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.progress import Progress
    from segfold.predicting import machine_on
    from segfold.soup import make_soup
    from segfold.stopping import Stopping

    device = None if arguments.device is None else machine_on(arguments.device).device
    with Stopping().installed(), Progress() as progress:
        made = make_soup(arguments.runs, arguments.run, HOME, arguments.fold, device, progress)
    _show(made)
    return 0


def _show(made: "Soup") -> None:
    """What the runs and their soup score, fold by fold, and whether it was worth it."""
    from rich.console import Console
    from rich.table import Table

    names = list(made.folds[0].scores)
    rows: dict[str, list[float | None]] = {name: [fold.scores[name] for fold in made.folds] for name in names}
    rows[str(made.folder.path)] = [fold.done["score"] for fold in made.folds]
    table = Table(title=f"soup of {len(names)} runs", title_justify="left")
    table.add_column("run")
    for fold in made.folds:
        table.add_column(f"fold {fold.fold}", justify="right")
    table.add_column("mean", justify="right")
    means: dict[str, float] = {}
    for name, scores in rows.items():
        known = [score for score in scores if score is not None]
        if len(known) == len(scores):
            means[name] = sum(known) / len(known)
        cells = ["–" if score is None else f"{score:.4f}" for score in scores]
        table.add_row(name, *cells, f"{means[name]:.4f}" if name in means else "–")
    Console().print(table)
    mean = means.pop(str(made.folder.path))
    if means:
        best = max(means, key=lambda name: means[name])
        word = "more" if mean >= means[best] else "less"
        over = f"over {len(made.folds)} folds" if len(made.folds) > 1 else f"on fold {made.folds[0].fold}"
        print(f"the soup scores {abs(mean - means[best]):.4f} {word} than {best}, the best of them, {over}")
    print(f"{made.folder.path} is a run like any other: python submit.py --ensemble {made.folder.path}")
