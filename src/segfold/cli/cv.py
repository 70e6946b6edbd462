"""Train all folds of an experiment one after the other, then show mean and standard error over the folds."""

import argparse

from segfold.cli.shell import HOME
from segfold.paths import reachable, user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=user_path, help="experiment, for instance configs/quick.yaml")
    parser.add_argument("--run", help="name under runs/ (default: the config's name)")
    parser.add_argument("--summary", action="store_true", help="train nothing, show the finished folds")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="any setting by its dotted path")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.show import run_table
    from segfold.cli.train import train_one
    from segfold.config import load_experiment
    from segfold.runs import RunFolder
    from segfold.stopping import Stopping

    experiment = load_experiment(arguments.config, arguments.overrides)
    if arguments.summary:
        name = arguments.run or arguments.config.stem + ("-fast" if experiment.fast else "")
        run_table(RunFolder(reachable(HOME / "runs" / name)))
        return 0
    stopping = Stopping(experiment.minutes)
    for fold in range(experiment.folds.k):
        if not train_one(arguments, str(fold), stopping):
            break
    return 0
