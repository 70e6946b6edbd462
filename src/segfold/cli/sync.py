"""Fetch the scores of everything that was sent to Kaggle, settle what broke off, and show the ledger."""

import argparse

from segfold.cli.shell import HOME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--competition", help="ask for this one too: it finds submissions again after the loss of the ledger"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.progress import Progress
    from segfold.cli.show_ledger import ledger_table
    from segfold.competition import load_competition
    from segfold.errors import SegfoldError
    from segfold.leaderboard import sync
    from segfold.stopping import Stopping

    slug = None
    if arguments.competition is not None:
        competition = load_competition(arguments.competition, HOME)
        if (slug := competition.slug) is None:
            raise SegfoldError(f"{competition.title} is not on Kaggle: its competition file has no slug")
    with Stopping().installed(), Progress() as progress:
        submissions = sync(HOME, slug, progress)
    ledger_table(submissions)
    return 0
