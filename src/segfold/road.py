"""The road as plain functions: open a run, train a fold, predict a fold, blend, submit.

Arguments are data; paths lie under ``home``; what happens is told to an observer. The command line parses, calls these and
shows what they return.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segfold.competition import Competition, load_competition
from segfold.config import dump_yaml
from segfold.data.folds import ensure_folds, fold_path, given_folds, make_folds, read_folds
from segfold.data.images import ImageSet, known_shapes, load_split
from segfold.ensemble.members import blend_members as blend
from segfold.environment import environment
from segfold.errors import SegfoldError, one_line
from segfold.files import write_atomic, write_json
from segfold.gathering import gather
from segfold.leaderboard import note_written
from segfold.locks import Lock
from segfold.machine import device_name
from segfold.observer import SILENT, Observer
from segfold.paths import user_path
from segfold.predicting import predict_fold, predict_runs
from segfold.runs.folder import FoldFolder, RunFolder, run_folder
from segfold.runs.identity import begun, check_same_experiment, check_same_inputs
from segfold.runs.record import fold_count, forget_failed, note_failed, read_done
from segfold.settings import Experiment
from segfold.settings.views import views_of
from segfold.stopping import Stopping
from segfold.submission.blended import SubmissionOptions, Submitted, empty_share, write_blend
from segfold.submission.fitting import fit_recipe
from segfold.training import FoldJob
from segfold.training import train_fold as train
from segfold.training.learner import record_run
from segfold.training.processes import ALONE, Group

__all__ = [
    "Run",
    "blend",
    "experiment_folds",
    "fold_count",
    "fold_job",
    "open_run",
    "predict_fold",
    "predict_runs",
    "report",
    "submit",
    "train_fold",
]


@dataclass(frozen=True)
class Run:
    """An experiment in its folder."""

    experiment: Experiment
    competition: Competition
    folder: RunFolder
    home: Path
    """The working folder: data, folds and runs lie in it."""


def open_run(experiment: Experiment, name: str, home: Path = Path(), group: Group = ALONE) -> Run:
    """``runs/<name>``, which is made, or checked to be of the same experiment.

    A folder in which no fold has begun (a first try with a wrong setting, say) may be taken over.

    Args:
        group: the processes that train together; the first one makes the folder, the others wait for it.

    Raises:
        SegfoldError: the folder holds a run that other settings trained, or the competition cannot be read.
    """
    competition = load_competition(experiment.competition, home)
    folder = run_folder(home, name)
    if group.leads:
        check_same_experiment(folder, experiment)
        with write_atomic(folder.config_path, "w") as file:
            file.write(dump_yaml(experiment))
    group.gathered("the run is open")
    return Run(experiment, competition, folder, home)


def experiment_folds(
    experiment: Experiment,
    competition: Competition,
    images: ImageSet,
    home: Path,
    say: Callable[[str], None] = lambda text: None,
) -> np.ndarray:
    """Fold number of each image, from the experiment's fold file; the usual file is made where it is missing.

    Args:
        say: told of what is too small to be in every fold, where the file is made.

    Raises:
        SegfoldError: a named file of other images, or with another number of folds.
    """
    settings, k = experiment.folds, fold_count(experiment, competition)
    if settings.file is not None:
        path = home / user_path(settings.file)
        folds = read_folds(path, images.ids)
        if (count := int(folds.max()) + 1) != settings.k:
            raise SegfoldError(f"{path} has {count} folds, folds.k is {settings.k}: set folds.k={count}")
        return folds

    def made() -> np.ndarray:
        if k == 1:
            if images.held_out is None:
                raise SegfoldError(
                    f"{competition.name} names a validation split, but the data has none: add it, take it out of the "
                    "competition file, or set folds.given=false"
                )
            return given_folds(images.held_out)
        return make_folds(images.ids, images.strata, images.groups, k, settings.seed, say)

    return ensure_folds(fold_path(competition.name, k, home), images.ids, k, made)


def fold_job(run: Run, fold: int, say: Callable[[str], None] = lambda text: None) -> FoldJob:
    """What one fold's training is made from: decoded images and folds, made where they are missing.

    Args:
        say: told when images are decoded, and what is too small for the folds.

    Raises:
        SegfoldError: no data, or images that the network cannot take: before hours of training, the test set's as well.
    """
    experiment, competition = run.experiment, run.competition
    images = load_split(competition, "train", run.home, say)
    if (known := known_shapes(competition, "test", run.home)) is not None:
        views_of(experiment).check(*known, "test image")
    folds = experiment_folds(experiment, competition, images, run.home, say)
    return FoldJob(experiment, competition, images, folds, fold, run.folder.fold(fold), run.home)


def train_fold(
    run: Run, fold: int, observer: Observer = SILENT, stopping: Stopping | None = None, group: Group = ALONE
) -> dict[str, Any] | None:
    """Train one fold of a run, or go on with it, until it is done.

    Args:
        group: the processes that share the work; the first one does what touches files.

    Returns:
        What ``done.json`` holds; None if time was up first (the same call goes on later).

    Raises:
        SegfoldError: another process trains the fold; other folds of the run saw other data; whatever the training refuses.
        Interrupted: ``stopping`` got a signal; the state is saved.
    """
    done = _trained(run, fold, observer, stopping, group)
    if group.leads and done is not None and run.experiment.machine.report:
        report(run, observer)
    return done


def report(run: Run, observer: Observer = SILENT) -> Path | None:
    """Write ``report.html`` of a run. What is wrong with it is said, and harms nothing: its folds are done.

    Returns:
        The page; None where it could not be written.
    """
    from segfold.board.build import build_report

    try:
        return build_report(run.folder, run.home, observer)
    except Exception as error:
        observer.say(f"no report of {run.folder.path}: {one_line(str(error)) or type(error).__name__}")
        return None


def _trained(run: Run, fold: int, observer: Observer, stopping: Stopping | None, group: Group) -> dict[str, Any] | None:
    folder = run.folder.fold(fold)
    with ExitStack() as stack:
        if group.leads:
            stack.enter_context(Lock(folder.lock))
            stack.enter_context(_noting_failure(folder))
        job = fold_job(run, fold, observer.say) if group.leads else None
        group.gathered("the data is cached, the folds are written")
        job = job or fold_job(run, fold)
        check_same_inputs(run.folder, folder, job.bound)
        done = read_done(folder) if folder.finished else None
        if group.leads and not (run.folder.environment_path.exists() and begun(run.folder)):
            device = device_name(run.experiment.machine)
            write_json(run.folder.environment_path, {**environment(), "device": device, **job.bound})
        if done is None:
            if group.leads:
                forget_failed(folder)
            return train(job, observer, stopping, group)
        observer.say(f"{folder.path} is done")
        if group.leads:
            forget_failed(folder)
            folder.remove_epochs()  # left by a kill right after the completion marker was written
            if not run.folder.record_path.exists():  # trained by a segfold that wrote none
                record_run(job, job.network(fresh=False))
        return done


@contextmanager
def _noting_failure(folder: FoldFolder) -> Iterator[None]:
    """Leaves a note in a fold's folder of why the block ended in an error; being stopped is none."""
    try:
        yield
    except Exception as error:
        note_failed(folder, error)
        raise


def submit(
    paths: Sequence[Path], options: SubmissionOptions, home: Path = Path(), observer: Observer = SILENT
) -> Submitted:
    """Blend finished runs into a checked CSV with its manifest and recipe; what is not predicted yet is predicted.

    The ledger notes what was written.

    Args:
        paths: run folders, and whatever else ``runs/*`` matches; none: those of the recipe.

    Raises:
        SegfoldError: no usable run, runs of several competitions, options that do not fit, a recipe whose runs are not
            there, a CSV that fails the check.
    """
    gathered = gather(paths, options, home, observer)
    recipe, members, adds = gathered.recipe, gathered.members, None
    competition, test = gathered.competition, gathered.test
    if recipe is None:
        fitted = fit_recipe(members, competition, gathered.train, test, options, observer)
        recipe, members, adds = fitted.recipe, fitted.members, fitted.contributions
    if options.dry_run:
        return Submitted(None, competition, members, recipe, empty_share(gathered.given, competition), adds)
    members = gathered.with_tests(members, observer)
    made = write_blend(members, competition, gathered.given, test, recipe, options, home, adds)
    assert made.written is not None
    note_written(home, made.written.path, competition.name)
    return made
