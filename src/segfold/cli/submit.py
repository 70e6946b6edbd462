"""Blend finished runs into a checked submission CSV.

Predicts what is not predicted yet, averages the folds of a run and the runs with each other, chooses threshold and post
steps on out-of-fold predictions, and writes submissions/NAME.csv with its manifest and its recipe, or applies a recipe.
"""

import argparse
from collections.abc import Sequence

from segfold.cli import difference
from segfold.cli.shell import HOME, finite_number, whole_number
from segfold.cli.upload import add_upload_arguments
from segfold.errors import SegfoldError
from segfold.paths import user_name, user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ensemble",
        nargs="+",
        default=[],
        type=user_path,
        metavar="RUN",
        help="run folders, such as runs/*, or one set of weights of a run, such as runs/a@swa",
    )
    parser.add_argument(
        "--recipe", type=user_path, metavar="FILE", help="apply a recipe.yaml to its runs instead of choosing anew"
    )
    parser.add_argument(
        "--without-train",
        action="store_true",
        help="with --recipe: the training images are not there, or not to be read",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        metavar="W",
        help="weight of each usable run, in the order shown, or one of single, equal, greedy, simplex "
        "(default: which of these four has the best nested score)",
    )
    parser.add_argument(
        "--combine",
        default="mean",
        help="what is averaged: mean (of probabilities), logits, geometric, product, rank or vote (default: mean)",
    )
    parser.add_argument(
        "--budget",
        type=finite_number,
        metavar="SECONDS",
        help="take only runs that predict the test set in so many seconds",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the tables; predict no test image, write nothing")
    parser.add_argument(
        "--use",
        nargs="+",
        metavar="SET",
        help="named weights of every run: model, best, swa, snapshots or snapshot1 … (default: each run's predict.weights)",
    )
    parser.add_argument("--competition", help="use the runs of this competition only")
    parser.add_argument("--fast", action="store_true", help="take runs of fast=true along with others")
    parser.add_argument(
        "--name",
        type=user_name,
        help="name of the CSV (default: the runs' names joined by +, and a short hash where that is another submission)",
    )
    parser.add_argument("--force", action="store_true", help="replace another submission of that name")
    parser.add_argument("--threshold", type=finite_number, help="fix the threshold instead of choosing it")
    parser.add_argument(
        "--min-area", type=whole_number, help="fix the smallest component, in pixels, instead of choosing it"
    )
    parser.add_argument(
        "--gate",
        type=finite_number,
        metavar="P",
        help="fix the probability of not being empty that an image needs by the image heads, 0 for no gate",
    )
    parser.add_argument(
        "--steps",
        nargs="*",
        metavar="STEP",
        help="post steps that may be tried (default: all but crf; without a name: none)",
    )
    difference.add_arguments(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--mixed-folds", action="store_true", help="allow runs of different fold files; there is no nested score then"
    )
    parser.add_argument("--upload", action="store_true", help="send it to Kaggle, and wait for its score")
    add_upload_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.diff is not None:
        return difference.run(arguments)
    from dataclasses import fields

    from segfold import road
    from segfold.cli.progress import Progress
    from segfold.cli.show import submission_tables
    from segfold.leaderboard import UploadOptions, check_message, upload
    from segfold.stopping import Stopping
    from segfold.submission.blended import SubmissionOptions

    if not arguments.ensemble and arguments.recipe is None:
        raise SegfoldError("nothing to blend: give --ensemble runs/*, or --recipe FILE")
    if not arguments.upload and not (arguments.message is None and arguments.wait is None):
        raise SegfoldError("--message and --wait are of what is sent: add --upload, or leave them out")
    if arguments.upload and arguments.dry_run:
        raise SegfoldError("--dry-run writes nothing that --upload could send; leave one of them out")
    check_message(arguments.message or "")
    given = {field.name: getattr(arguments, field.name) for field in fields(SubmissionOptions)}
    options = SubmissionOptions(**given | {"weights": _weights(arguments.weights)})
    with Stopping().installed(), Progress() as progress:
        made = road.submit(arguments.ensemble, options, HOME, progress)
        submission_tables(made)
        if made.written is None:
            return 0
        csv, competition = made.written.path, made.competition
        if arguments.upload:
            terms = UploadOptions() if arguments.wait is None else UploadOptions(wait=arguments.wait)
            upload(csv, competition, HOME, arguments.message or "", progress, terms)
    return 0


def _weights(words: Sequence[str] | None) -> list[float] | str | None:
    """Numbers, or how to find them."""
    if words is None:
        return None
    try:
        return [finite_number(word) for word in words]
    except argparse.ArgumentTypeError as error:
        if len(words) == 1 and words[0].isalpha() and words[0] not in ("nan", "inf", "infinity"):
            return words[0]
        raise SegfoldError(f"--weights {' '.join(words)}: {error}; or name a way to find them") from None
