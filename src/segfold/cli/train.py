"""Train one fold of an experiment into runs/NAME/foldK, or go on with it."""

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, whole_number
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.settings import Experiment
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
    """Train one fold to its end, unless time is up first: then False."""
    from segfold import road
    from segfold.cli.progress import Progress
    from segfold.cli.show import fold_table
    from segfold.config import load_experiment
    from segfold.data.folds import fold_number, parse_fold
    from segfold.machine import on_share
    from segfold.training import join_group, leave_group

    share = on_share(parse_fold(fold) or 0, getattr(arguments, "jobs", 1))
    experiment = load_experiment(arguments.config, [*share, *arguments.overrides])
    with ExitStack() as stack:
        stack.callback(leave_group)
        group = join_group(experiment.machine.device)
        run = road.open_run(experiment, run_name(arguments, experiment), HOME, group)
        number = fold_number(fold, road.fold_count(experiment, run.competition))
        stack.enter_context(stopping.installed())
        progress = stack.enter_context(Progress(experiment.machine.progress, silent=not group.leads))
        done = road.train_fold(run, number, progress, stopping, group)
        if done is None:
            progress.say(f"stopped after {experiment.minutes:g} minutes; the same command goes on from here")
            return False
        if group.leads:
            fold_table(run.folder, done)
    return True


def run_name(arguments: argparse.Namespace, experiment: "Experiment") -> str:
    """As given, or the config's name."""
    if arguments.run is not None:
        return str(arguments.run)
    return str(arguments.config.stem) + ("-fast" if experiment.fast else "")
