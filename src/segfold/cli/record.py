"""Record by hand what the leaderboard shows of a submission."""

import argparse

from segfold.cli.shell import HOME, finite_number
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=user_path, help="the submission, a CSV or a zip of PNGs")
    parser.add_argument("--public", type=finite_number, metavar="SCORE", help="on the public part of the test set")
    parser.add_argument("--private", type=finite_number, metavar="SCORE", help="on the rest of it")
    parser.add_argument("--competition", default="tgs-salt", help="of a file without a manifest")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.show_ledger import ledger_table
    from segfold.competition import load_competition
    from segfold.leaderboard import read_ledger, record_by_hand

    competition = load_competition(arguments.competition, HOME).name
    record_by_hand(HOME, arguments.csv, competition, arguments.public, arguments.private)
    ledger_table(read_ledger(HOME))
    return 0
