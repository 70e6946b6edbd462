"""Train one fold of an experiment into runs/NAME/foldK, or go on with it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME

if TYPE_CHECKING:
    from segfold.stopping import Stopping


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
    from segfold.config import load_experiment
    from segfold.stopping import Stopping

    train_one(arguments, arguments.fold, Stopping(load_experiment(arguments.config, arguments.overrides).minutes))
    return 0


def train_one(arguments: argparse.Namespace, fold: str, stopping: "Stopping") -> bool:
    """Train one fold to its end, unless time is up first: then False."""
    from segfold.cli.experiment import experiment_folds, fold_number, open_run, record_environment
    from segfold.cli.show import fold_table
    from segfold.data.images import load_split
    from segfold.inference.device import device_name
    from segfold.runs import FoldLock, read_json
    from segfold.training import FoldJob, Progress, train_fold

    experiment, competition, folder = open_run(arguments.config, arguments.overrides, arguments.run, HOME)
    folder_of_fold = folder.fold(fold_number(fold, experiment))
    with stopping.installed(), FoldLock(folder_of_fold.lock):
        images = load_split(competition, "train", HOME, progress=True)
        folds = experiment_folds(experiment, competition, images, HOME)
        job = FoldJob(experiment, competition, images, folds, folder_of_fold.number, folder_of_fold)
        record_environment(folder, job, device_name(experiment.machine))
        with Progress(experiment.machine.progress) as progress:
            done = read_json(job.folder.done) if job.folder.finished else None
            if done is not None and done["data_hash"] == job.bound["data"]:
                progress.say(f"{job.folder.path} is done")
            else:
                done = train_fold(job, progress, stopping)
            if done is None:
                progress.say(f"stopped after {experiment.minutes:g} minutes; the same command goes on from here")
                return False
        fold_table(folder, done)
    return True
