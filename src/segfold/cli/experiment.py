"""From a config's path to an open run folder: the name, the identity check, the record of the environment."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segfold.competition import Competition, load_competition
from segfold.config import check_experiment, differing_keys, dump_yaml, load_experiment, read_yaml
from segfold.data.folds import ensure_folds, fold_path, parse_fold, read_folds
from segfold.data.images import ImageSet
from segfold.environment import environment
from segfold.errors import SegfoldError
from segfold.runs import RunFolder, write_atomic, write_json
from segfold.settings import Experiment
from segfold.training import FoldJob


def open_run(
    config: Path, overrides: Sequence[str], name: str | None, home: Path, write: bool = True
) -> tuple[Experiment, Competition, RunFolder]:
    """Experiment, competition and run folder, which is made, or checked to be of the same experiment.

    A folder in which no fold has begun (a first try with a wrong setting, say) is nobody's yet.

    Args:
        write: false in a process that only joins one which opened the run.

    Raises:
        SegfoldError: the config is wrong, or the folder holds a run that other settings trained.
    """
    experiment = load_experiment(config, overrides)
    competition = load_competition(experiment.competition, home)
    if name is None:
        name = config.stem + ("-fast" if experiment.fast else "")
    folder = RunFolder(home / "runs" / name)
    begun = any(fold.last.exists() or fold.finished for fold in folder.folds())
    if begun and folder.config_path.exists():
        differing = differing_keys(read_run(folder), experiment)
        if differing:
            raise SegfoldError(
                f"{folder.path} holds a run with other settings ({', '.join(differing)}); "
                "give this one a name of its own with --run NAME, or set them back"
            )
    if write:
        with write_atomic(folder.config_path, "w") as file:
            file.write(dump_yaml(experiment))
    return experiment, competition, folder


def record_environment(folder: RunFolder, job: FoldJob, device: str) -> None:
    """Write ``environment.json`` of a run's first training: code, packages, device, data and folds."""
    if not folder.environment_path.exists() or not any(fold.last.exists() for fold in folder.folds()):
        write_json(folder.environment_path, {**environment(), "device": device, **job.bound})


def read_run(folder: RunFolder) -> Experiment:
    """Experiment that a run folder was trained with."""
    return check_experiment(read_yaml(folder.config_path), str(folder.config_path))


def fold_number(text: str, experiment: Experiment) -> int:
    """Number of a fold given on the command line.

    Raises:
        SegfoldError: not a number from 0 to one less than the experiment's ``folds.k``.
    """
    number = parse_fold(text)
    if number is None or number >= experiment.folds.k:
        raise SegfoldError(f"--fold {text[:30]}: expected a number from 0 to {experiment.folds.k - 1}")
    return number


def experiment_folds(experiment: Experiment, competition: Competition, images: ImageSet, home: Path) -> np.ndarray:
    """Fold number of each image, from the experiment's fold file; the usual file is made where it is missing."""
    settings = experiment.folds
    if settings.file is not None:
        path = home / settings.file
        return read_folds(path, images.ids)
    path = fold_path(competition.name, settings.k, home)
    return ensure_folds(path, images.ids, images.coverage, images.groups, settings.k, settings.seed)
