"""List the runs with their folds, scores and sizes, or take in those of a runs.zip that a training notebook left."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, remark
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", type=user_path, metavar="RUN", help="run folders (default: all of runs/)")
    parser.add_argument(
        "--import", dest="source", type=user_path, metavar="ZIP", help="take in the runs of a zip, whole or not at all"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.errors import SegfoldError
    from segfold.runs.folder import RunFolder

    if arguments.source is not None:
        from segfold.bundling.carrying import take_in

        if arguments.runs:
            raise SegfoldError("--import takes in all runs of a zip: name none beside it")
        taken = take_in(arguments.source, HOME, remark)
        for what, folds in (("taken in", taken.new), ("gone on with", taken.gone_on), ("there already", taken.kept)):
            for name, numbers in folds.items():
                print(f"runs/{name}: fold {', '.join(map(str, numbers)) or '–'} {what}")
        return 0
    folder = HOME / "runs"
    paths = arguments.runs or (sorted(folder.iterdir()) if folder.is_dir() else [])
    runs = [RunFolder(path) for path in paths if (path / "config.yaml").is_file()]
    if not runs:
        raise SegfoldError("no runs: train a fold with `make fold=0 train`, or take some in with --import runs.zip")
    _table(runs)
    return 0


def _table(runs: "Sequence[RunFolder]") -> None:
    from rich.console import Console
    from rich.table import Table

    from segfold.bundling.carrying import run_size
    from segfold.cli.show import mean_line
    from segfold.disk import size_text
    from segfold.runs.identity import comparable_folds

    table = Table(title="runs", title_justify="left")
    for name in ("run", "competition", "finished", "begun", "score", "size"):
        table.add_column(name, justify="right" if name in ("score", "size") else "left")
    problems = []
    for run in runs:
        done, problem = comparable_folds(run)
        problems += [] if problem is None else [problem]
        scores = [each["score"] for each in done.values()]
        score = (
            "–" if not scores or problem else mean_line(scores).partition(": ")[2] if scores[1:] else f"{scores[0]:.4f}"
        )
        of = sorted({each["competition"] for each in done.values()})
        begun = [str(fold.number) for fold in run.folds() if not fold.finished]
        finished = ",".join(map(str, done))
        table.add_row(run.name, ", ".join(of) or "–", finished, ",".join(begun), score, size_text(run_size(run)))
    Console().print(table)
    for problem in problems:
        remark(f"no mean over folds: {problem}")
