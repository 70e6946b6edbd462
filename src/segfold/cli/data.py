"""Bring a competition's data into data/NAME, from Kaggle's client, a folder or a zip, and check all of it."""

import argparse
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, remark
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.data.images import ImageSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")
    parser.add_argument("--from", dest="source", type=user_path, help="a folder or zip that you have (default: Kaggle)")
    parser.add_argument(
        "--guess",
        type=user_path,
        metavar="PATH",
        help="only print a competition file for a folder or zip that has none",
    )
    parser.add_argument("--force", action="store_true", help="replace other data of the competition")


def run(arguments: argparse.Namespace) -> int:
    if arguments.guess is not None:
        from segfold.importing.guess import guess

        print(guess(arguments.guess), end="")
        return 0
    from segfold.competition import load_competition
    from segfold.data.images import has_test, load_split
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
    if has_test(competition, HOME):
        load_split(competition, "test", HOME, say=remark)
    else:
        print("there are no test images")
    for line in class_lines(train):
        print(line)
    if train.held_out is not None:
        print(f"{int(train.held_out.sum())} of {len(train)} images are the competition's own validation split")
    empty = float((train.coverage == 0).mean())
    print(f"{empty:.1%} of the masks are empty, {int(train.constant.sum())} images are of one value")
    return 0


def class_lines(images: "ImageSet") -> list[str]:
    """A line for each class of several: how many images have it, and its share of the pixels that count."""
    names = images.task.classes
    if len(names) < 2 or images.areas is None:
        return []
    width = max(map(len, names))
    whole = max(int(images.areas.sum()), 1)
    return [
        f"{name:{width}}  in {int((areas > 0).sum())} of {len(images)} images, {areas.sum() / whole:.2%} of the pixels with a class"
        for name, areas in zip(names, images.areas.T)
    ]
