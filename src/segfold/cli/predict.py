"""Predict what a submission of finished runs needs, or a share of it.

Several processes or machines that predict one shard each predict the runs together: whoever finishes the last shard joins
them into the stores that one process would have written, and submit predicts nothing anew. The folders of shards may be
copied from one machine to another.
"""

import argparse
import re

from segfold.cli.shell import HOME, whole_number
from segfold.errors import shown
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=user_path, metavar="RUN", help="run folders, such as runs/*, or runs/a@swa: a named set"
    )
    parser.add_argument(
        "--split",
        choices=("oof", "test", "both"),
        default="both",
        help="the held-out images of each fold, the test set, or both (default)",
    )
    parser.add_argument(
        "--fold", nargs="+", type=whole_number, metavar="K", help="these finished folds only (default: all)"
    )
    parser.add_argument(
        "--use",
        nargs="+",
        metavar="SET",
        help="named weights of every run: model, best, swa, snapshots or snapshot1 … (default: each run's predict.weights)",
    )
    parser.add_argument(
        "--shard", type=shard, metavar="I/N", help="the I-th of N shares of the images of every store, from 1/N to N/N"
    )
    parser.add_argument("--competition", help="use the runs of this competition only")
    parser.add_argument("--fast", action="store_true", help="take runs of fast=true along with others")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def shard(text: str) -> tuple[int, int]:
    """An argument's ``type``: ``2/4`` is the second of four."""
    match = re.fullmatch("([0-9]{1,4})/([0-9]{1,4})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no shard; expected I/N with I from 1 to N, such as 2/4")
    return int(match[1]), int(match[2])


def run(arguments: argparse.Namespace) -> int:
    from segfold import road
    from segfold.cli.progress import Progress
    from segfold.cli.show import prediction_table
    from segfold.predicting import PredictionOptions
    from segfold.stopping import Stopping
    from segfold.store import Shard

    options = PredictionOptions(
        splits=("oof", "test") if arguments.split == "both" else (arguments.split,),
        folds=arguments.fold,
        use=arguments.use,
        shard=None if arguments.shard is None else Shard(*arguments.shard),
        competition=arguments.competition,
        fast=arguments.fast,
        device=arguments.device,
    )
    with Stopping().installed(), Progress() as progress:
        made = road.predict_runs(arguments.runs, options, HOME, progress)
    prediction_table(made)
    return 0
