"""Score a submission CSV against known masks exactly as the host does."""

import argparse

from segfold.cli.shell import HOME, remark
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=user_path, help="the submission")
    parser.add_argument("--truth", required=True, type=user_path, help="a CSV with the known masks")
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")


def run(arguments: argparse.Namespace) -> int:
    from segfold.competition import load_competition
    from segfold.submission.check import image_shapes, score_csv

    competition = load_competition(arguments.competition, HOME)
    score = score_csv(arguments.csv, arguments.truth, competition, image_shapes(competition, HOME, remark))
    print(f"{arguments.csv}: {competition.metric} {score:.4f}")
    return 0
