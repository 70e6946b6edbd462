"""Train all folds of an experiment one after the other, then show mean and standard error over the folds."""

import argparse

from segfold.cli.shell import HOME
from segfold.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=user_path, help="experiment, for instance configs/quick.yaml")
    parser.add_argument("--run", help="name under runs/ (default: the config's name)")
    parser.add_argument("--summary", action="store_true", help="train nothing, show the finished folds")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="any setting by its dotted path")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.show import run_table
    from segfold.cli.train import run_name, train_one
    from segfold.competition import load_competition
    from segfold.config import load_experiment
    from segfold.errors import SegfoldError
    from segfold.road import fold_count
    from segfold.runs.folder import run_folder
    from segfold.runs.identity import comparable_folds
    from segfold.stopping import Stopping

    experiment = load_experiment(arguments.config, arguments.overrides)
    folder = run_folder(HOME, run_name(arguments, experiment))
    if arguments.summary:
        if not folder.config_path.exists():
            raise SegfoldError(f"{folder.path} is not a run; name one with --run, or train its folds first")
        problem = run_table(folder)
    else:
        stopping = Stopping(experiment.minutes)
        count = fold_count(experiment, load_competition(experiment.competition, HOME))
        all(train_one(arguments, str(fold), stopping) for fold in range(count))
        _, problem = comparable_folds(folder)
    if problem is not None:
        raise SegfoldError(f"no mean over folds: {problem}")
    return 0
