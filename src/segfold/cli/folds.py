"""Write folds/COMPETITION-K.csv: stratified by the masks, deterministic, never silently rewritten."""

import argparse

from segfold.cli.shell import HOME, remark, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--competition", default="tgs-salt", help="name in configs/competitions, or a YAML file")
    parser.add_argument("--k", type=whole_number, default=5, help="number of folds")
    parser.add_argument("--seed", type=whole_number, help="another seed gives another split (default: 0)")
    parser.add_argument(
        "--all",
        dest="given",
        action="store_false",
        help="K folds of all images, also where the competition has a validation split of its own",
    )


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from segfold.competition import load_competition
    from segfold.data.folds import fold_path, given_folds, kept_folds, make_folds, write_folds
    from segfold.data.images import load_split

    competition = load_competition(arguments.competition, HOME)
    images = load_split(competition, "train", HOME, say=remark)
    k = arguments.k
    if images.held_out is not None and arguments.given:
        k, folds = 1, given_folds(images.held_out)
    else:
        folds = make_folds(images.ids, images.strata, images.groups, k, arguments.seed or 0, say=remark)
    path = fold_path(competition.name, k, HOME)
    held = kept_folds(path, images.ids, k) if arguments.seed is None else None
    if held is not None and not np.array_equal(held, folds):
        print(
            f"{path}: kept, runs may have been trained on it. It is another split than would be made now, of another seed "
            "or by an earlier segfold; delete it to have it made anew"
        )
        folds = held
    else:
        written = write_folds(path, images.ids, folds)
        print(f"{path}: {'written' if written else 'the same file is there already'}")
    for fold in range(k):
        inside = folds == fold
        empty = np.mean(images.coverage[inside] == 0)
        print(
            f"  fold {fold}: {inside.sum()} images, {empty:.1%} empty, mean coverage {images.coverage[inside].mean():.3f}"
        )
    return 0
