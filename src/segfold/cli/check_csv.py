"""Check a submission CSV: columns, exact ids, and every mask well-formed, sorted, in bounds, without overlaps."""

import argparse
from pathlib import Path

from segfold.cli.shell import HOME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=Path, help="the submission")
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.shell import test_shapes
    from segfold.competition import load_competition
    from segfold.errors import SegfoldError, one_line
    from segfold.submission.check import csv_problems

    competition = load_competition(arguments.competition, HOME)
    shapes = test_shapes(competition)
    problems = csv_problems(arguments.csv, competition, shapes)
    if problems:
        for line in problems[1:]:
            print(one_line(line))
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise SegfoldError(f"{arguments.csv} has {count}: {problems[0]}; mend it or write it again with submit.py")
    print(f"{arguments.csv}: good, {len(shapes):,} images")
    return 0
