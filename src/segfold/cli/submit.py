"""Blend finished runs into a checked submission CSV.

Predicts what is not predicted yet, averages the folds of a run and the runs with each other, chooses the
threshold and the smallest component on out-of-fold predictions, and writes submissions/NAME.csv with its manifest.
"""

import argparse
from pathlib import Path

from segfold.cli.shell import HOME, finite_number, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ensemble", required=True, nargs="+", type=Path, metavar="RUN", help="run folders, such as runs/*"
    )
    parser.add_argument(
        "--weights", nargs="+", type=finite_number, metavar="W", help="weight of each usable run, in the order shown"
    )
    parser.add_argument(
        "--use",
        nargs="+",
        metavar="SET",
        help="named weights of every run: model, best, swa, snapshots or snapshot1 … (default: each run's predict.weights)",
    )
    parser.add_argument("--competition", help="use the runs of this competition only")
    parser.add_argument("--name", help="name of the CSV (default: the runs' names joined by +)")
    parser.add_argument("--threshold", type=finite_number, help="fix the threshold instead of choosing it")
    parser.add_argument(
        "--min-area", type=whole_number, help="fix the smallest component, in pixels, instead of choosing it"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--mixed-folds", action="store_true", help="allow runs of different fold files; the CV then flatters"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.members import check_data, collect, find_entries
    from segfold.cli.submission import blend_and_write
    from segfold.data.images import load_split
    from segfold.errors import one_line
    from segfold.settings import Machine
    from segfold.stopping import Stopping

    with Stopping().installed():
        competition, entries, skipped = find_entries(arguments.ensemble, arguments.competition, HOME)
        for line in skipped:
            print(one_line(line))
        train = load_split(competition, "train", HOME, progress=True)
        test = load_split(competition, "test", HOME, progress=True)
        check_data(entries, train)
        oof, tests = collect(entries, competition, train, test, Machine(device=arguments.device), arguments.use)
        blend_and_write(arguments, competition, entries, oof, tests, train, test)
    return 0
