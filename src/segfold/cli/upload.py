"""Send a submission to Kaggle: checked, never twice, within the day's limit; waits for its score and keeps the ledger."""

import argparse

from segfold.cli.shell import HOME, time_span
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=user_path, help="the submission, a CSV or a zip of PNGs")
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")
    add_upload_arguments(parser)


def add_upload_arguments(parser: argparse.ArgumentParser) -> None:
    """What any verb that sends a submission asks for."""
    parser.add_argument("--message", metavar="TEXT", help="what Kaggle shows beside the submission")
    parser.add_argument(
        "--wait",
        type=time_span,
        metavar="TIME",
        help="how long to wait for the score: 90s, 10m, 1h, or 0 to leave it to make sync (default: 10m)",
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.progress import Progress
    from segfold.competition import load_competition
    from segfold.leaderboard import UploadOptions, upload
    from segfold.stopping import Stopping

    competition = load_competition(arguments.competition, HOME)
    options = UploadOptions() if arguments.wait is None else UploadOptions(wait=arguments.wait)
    with Stopping().installed(), Progress() as progress:
        upload(arguments.csv, competition, HOME, arguments.message or "", progress, options)
    return 0
