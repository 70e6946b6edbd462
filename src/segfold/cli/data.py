"""Bring a competition's data into data/NAME, from Kaggle's client, a folder or a zip, and check all of it."""

import argparse

from segfold.cli.shell import HOME, remark
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")
    parser.add_argument("--from", dest="source", type=user_path, help="a folder or zip that you have (default: Kaggle)")
    parser.add_argument("--force", action="store_true", help="replace other data of the competition")


def run(arguments: argparse.Namespace) -> int:
    from segfold.competition import load_competition
    from segfold.data.images import load_split
    from segfold.errors import one_line
    from segfold.importing.kaggle import DataProblemsError, import_data

    competition = load_competition(arguments.competition, HOME)
    try:
        print(import_data(competition, arguments.source, HOME, arguments.force))
    except DataProblemsError as error:
        for line in error.problems:
            print(one_line(line))
        raise
    train = load_split(competition, "train", HOME, say=remark)
    load_split(competition, "test", HOME, say=remark)
    empty = float((train.coverage == 0).mean())
    print(f"{empty:.1%} of the masks are empty, {int(train.constant.sum())} images are of one value")
    return 0
