"""Score a submission against known masks exactly as the host does: the score and its standard error over images."""

import argparse

from segfold.cli.shell import HOME, remark
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=user_path, help="the submission, a CSV or a zip of PNGs")
    parser.add_argument(
        "--truth", required=True, type=user_path, help="the known masks: a CSV, or a zip or folder of PNGs"
    )
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")


def run(arguments: argparse.Namespace) -> int:
    from segfold.competition import load_competition
    from segfold.submission.check import image_shapes
    from segfold.submission.score import score_submission

    competition = load_competition(arguments.competition, HOME)
    shapes = image_shapes(competition, HOME, remark)
    score = score_submission(arguments.csv, arguments.truth, competition, shapes)
    print(f"{arguments.csv}: {competition.metric} {score}")
    return 0
