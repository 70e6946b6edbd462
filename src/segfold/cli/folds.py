"""Write folds/COMPETITION-K.csv: stratified by mask coverage, deterministic, never silently rewritten."""

import argparse

from segfold.cli.shell import HOME, remark, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")
    parser.add_argument("--k", type=whole_number, default=5, help="number of folds")
    parser.add_argument("--seed", type=whole_number, default=0, help="another seed gives another split")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from segfold.competition import load_competition
    from segfold.data.folds import fold_path, make_folds, write_folds
    from segfold.data.images import load_split

    competition = load_competition(arguments.competition, HOME)
    images = load_split(competition, "train", HOME, say=remark)
    folds = make_folds(images.ids, images.coverage, images.groups, arguments.k, arguments.seed)
    path = fold_path(competition.name, arguments.k, HOME)
    written = write_folds(path, images.ids, folds)
    print(f"{path}: {'written' if written else 'the same file is there already'}")
    for fold in range(arguments.k):
        inside = folds == fold
        empty = np.mean(images.coverage[inside] == 0)
        print(
            f"  fold {fold}: {inside.sum()} images, {empty:.1%} empty, mean coverage {images.coverage[inside].mean():.3f}"
        )
    return 0
