"""Train one fold of an experiment into runs/NAME/foldK, or go on with it."""

import argparse
from pathlib import Path

from segfold.cli.shell import HOME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=Path, help="experiment, for instance configs/quick.yaml")
    parser.add_argument("--fold", required=True, help="number of the fold that is held out, from 0")
    parser.add_argument("--run", help="name under runs/ (default: the config's name, with -fast after fast=true)")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key.sub=value",
        help="any setting by its dotted path; fast=true runs 64 images and one epoch a stage; "
        "minutes=N stops after N minutes, to go on later",
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.experiment import experiment_folds, fold_number, open_run
    from segfold.cli.show import fold_table
    from segfold.data.images import load_split
    from segfold.runs import FoldLock, read_json
    from segfold.stopping import Stopping
    from segfold.training import FoldJob, Progress, train_fold

    experiment, competition, folder = open_run(arguments.config, arguments.overrides, arguments.run, HOME)
    fold = fold_number(arguments.fold, experiment)
    stopping = Stopping(experiment.minutes)
    with stopping.installed(), FoldLock(folder.fold(fold).lock):
        images = load_split(competition, "train", HOME, progress=True)
        folds = experiment_folds(experiment, competition, images, HOME)
        job = FoldJob(experiment, competition, images, folds, fold, folder.fold(fold))
        with Progress(experiment.machine.progress) as progress:
            if job.folder.finished and read_json(job.folder.done)["data_hash"] == job.bound["data"]:
                progress.say(f"{job.folder.path} is done")
                done = read_json(job.folder.done)
            else:
                done = train_fold(job, progress, stopping)
            if done is None:
                progress.say(f"stopped after {experiment.minutes:g} minutes; the same command goes on from here")
                return 0
        fold_table(folder, done)
    return 0
