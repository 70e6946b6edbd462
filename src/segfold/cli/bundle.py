"""Pack all that a recipe needs for a notebook without internet, or with --train what trains an experiment on free GPUs.

Writes bundles/NAME.zip, or with --folder the folder of a Kaggle data set. The host's Python and packages are those of a
list (--host); wheels that it lacks are fetched by pip, or taken from a folder. See docs/notebooks.md.
"""

import argparse
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, finite_number, time_span, whole_number
from segfold.errors import SegfoldError
from segfold.paths import user_name, user_path

if TYPE_CHECKING:
    from segfold.bundling.making import BundleOptions

_SESSION = 12 * 3600.0  # of a Kaggle notebook with a GPU


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "given",
        nargs="*",
        metavar="RECIPE",
        help="such as submissions/x.recipe.yaml; with --train key.sub=value of its settings",
    )
    parser.add_argument("--train", type=user_path, metavar="CONFIG", help="a notebook that trains this experiment")
    parser.add_argument("--name", type=user_name, help="of the bundle (default: the recipe's)")
    parser.add_argument("--folder", action="store_true", help="a folder with dataset-metadata.json instead of a zip")
    parser.add_argument("--force", action="store_true", help="replace a bundle of that name")
    parser.add_argument(
        "--wheels", type=user_path, metavar="FOLDER", help="take the wheels from here, without a network"
    )
    parser.add_argument("--host", type=user_path, metavar="FILE", help="what the host has (default: a Kaggle notebook)")
    parser.add_argument("--owner", help="your name on Kaggle, for the files that its client reads")
    parser.add_argument(
        "--limit",
        type=time_span,
        metavar="9h",
        help="measure, and refuse what takes longer than the host allows; with --train: of a session (default: 12h)",
    )
    parser.add_argument(
        "--images",
        type=whole_number,
        metavar="N",
        help="images that the host will have (default: the known test images)",
    )
    parser.add_argument(
        "--slower", type=finite_number, default=1.0, metavar="X", help="the host takes X times as long as this machine"
    )
    parser.add_argument(
        "--device", help="measure anew on auto, cpu, cuda or cuda:N (default: what the runs' own predictions took)"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.bundling.host import KAGGLE
    from segfold.bundling.making import BundleOptions, TimeLimit, bundle_recipe
    from segfold.cli.progress import Progress, duration
    from segfold.disk import size_text
    from segfold.stopping import Stopping

    if arguments.train is None and len(arguments.given) != 1:
        raise SegfoldError("give one recipe to bundle, such as submissions/x.recipe.yaml, or --train CONFIG")
    for name, least in (("images", 1), ("slower", 1e-6)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise SegfoldError(f"--{name} {value}: expected a number above 0")
    options = BundleOptions(
        arguments.name,
        arguments.folder,
        arguments.force,
        arguments.wheels,
        arguments.host or KAGGLE,
        arguments.owner,
    )
    if arguments.train is not None:
        return _training(arguments, options)
    limit = None
    if arguments.limit is not None:
        limit = TimeLimit(arguments.limit, arguments.images, arguments.slower, arguments.device)
    with Stopping().installed(), Progress() as progress:
        made = bundle_recipe(user_path(arguments.given[0]), options, HOME, limit, progress)
    print(f"{made.written.path}: {made.networks} sets of weights, {size_text(made.written.bytes)}")
    _say_wheels(made.wheels)
    if made.pace is not None and made.needed is not None:
        print(
            f"{made.images:,} images take {duration(made.needed)} of {duration(arguments.limit)}, at {made.pace.seconds:.3g} s "
            f"an image through {made.pace.networks} networks, measured on {made.pace.measured}"
        )
    elif arguments.limit is None:
        print("nothing was measured; --limit 9h refuses what will not fit")
    return 0


def _say_wheels(wheels: list[str]) -> None:
    print(f"wheels for what the host lacks: {', '.join(wheels) or 'none'}")


def _training(arguments: argparse.Namespace, options: "BundleOptions") -> int:
    from segfold.bundling.training import bundle_training
    from segfold.cli.progress import Progress
    from segfold.disk import size_text
    from segfold.stopping import Stopping

    session = _SESSION if arguments.limit is None else arguments.limit
    with Stopping().installed(), Progress() as progress:
        made = bundle_training(arguments.train, arguments.given, options, HOME, session, progress)
    print(f"{made.written.path}: trains fold {', '.join(map(str, made.folds))}, {size_text(made.written.bytes)}")
    _say_wheels(made.wheels)
    if made.internet:
        print("the encoder's weights are downloaded there: switch the notebook's internet on")
    return 0
