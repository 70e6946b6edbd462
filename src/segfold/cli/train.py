"""Train one fold of an experiment into runs/NAME/foldK, or go on with it."""

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, whole_number
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.stopping import Stopping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=user_path, help="experiment, for instance configs/quick.yaml")
    parser.add_argument("--fold", required=True, help="number of the fold that is held out, from 0")
    parser.add_argument(
        "--run", "--name", dest="run", help="name under runs/ (default: the config's name, with -fast after fast=true)"
    )
    parser.add_argument(
        "--jobs",
        type=whole_number,
        default=1,
        metavar="N",
        help="N trainings run at once: take 1/N of the cores, or GPU K mod count",
    )
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
    """Train one fold to its end, unless time is up first: then False.

    Under ``torchrun`` the first process does what touches files; the others wait until that is done.
    """
    from segfold.cli.experiment import (
        check_bound,
        check_test_sizes,
        experiment_folds,
        fold_number,
        open_run,
        record_environment,
    )
    from segfold.cli.show import fold_table
    from segfold.config import load_experiment
    from segfold.data.folds import parse_fold
    from segfold.data.images import load_split
    from segfold.machine import device_name, on_share
    from segfold.runs.folder import FoldLock, RunFolder, read_done
    from segfold.training import FoldJob, Progress, join_group, leave_group, train_fold

    share = on_share(parse_fold(fold) or 0, getattr(arguments, "jobs", 1))
    overrides = [*share, *arguments.overrides]
    with ExitStack() as stack:
        stack.callback(leave_group)
        group = join_group(load_experiment(arguments.config, overrides).machine.device)

        def open_job() -> FoldJob:
            experiment, competition, folder = open_run(arguments.config, overrides, arguments.run, HOME, group.leads)
            folder_of_fold = folder.fold(fold_number(fold, experiment))
            stack.enter_context(stopping.installed())
            if group.leads:
                stack.enter_context(FoldLock(folder_of_fold.lock))
            images = load_split(competition, "train", HOME, progress=group.leads)
            check_test_sizes(experiment, competition, HOME)
            folds = experiment_folds(experiment, competition, images, HOME)
            return FoldJob(experiment, competition, images, folds, folder_of_fold.number, folder_of_fold)

        job = open_job() if group.leads else None
        group.gathered("the run is open, its data cached, its folds written")
        job = job or open_job()
        folder = RunFolder(job.folder.path.parent)
        machine = job.experiment.machine
        progress = stack.enter_context(Progress(machine.progress, silent=not group.leads))
        check_bound(folder, job)
        done = read_done(job.folder) if job.folder.finished else None
        if group.leads:
            record_environment(folder, job, device_name(machine))
        if done is not None:
            progress.say(f"{job.folder.path} is done")
            if group.leads:
                job.folder.remove_epochs()  # left by a kill right after the proof was written
        else:
            done = train_fold(job, progress, stopping, group)
        if done is None:
            progress.say(f"stopped after {job.experiment.minutes:g} minutes; the same command goes on from here")
            return False
        if group.leads:
            fold_table(folder, done)
    return True
