"""From a config's path to an open run folder: the name, the identity check, the record of the environment."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segfold.competition import Competition, load_competition
from segfold.config import check_experiment, differing_keys, dump_yaml, load_experiment, read_yaml
from segfold.data.folds import ensure_folds, fold_path, parse_fold, read_folds
from segfold.data.images import ImageSet, known_shapes
from segfold.environment import environment
from segfold.errors import SegfoldError
from segfold.inference.networks import sizing_of
from segfold.paths import user_path
from segfold.runs.folder import FoldFolder, RunFolder, read_done, read_json, run_folder, write_atomic, write_json
from segfold.settings import Experiment
from segfold.training import FoldJob
from segfold.training.plan import recorded_parts

_ANEW = "give this one a name of its own with --run NAME"


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
    folder = run_folder(home, name)
    if _begun(folder):
        differing = differing_keys(_held(folder), experiment)
        if differing:
            raise SegfoldError(
                f"{folder.path} holds a run with other settings ({', '.join(differing)}); {_ANEW}, or set them back"
            )
    if write:
        with write_atomic(folder.config_path, "w") as file:
            file.write(dump_yaml(experiment))
    return experiment, competition, folder


def _begun(folder: RunFolder) -> bool:
    return any(fold.last.exists() or fold.finished for fold in folder.folds())


def _held(folder: RunFolder) -> Experiment:
    try:
        return read_run(folder)
    except SegfoldError as error:
        raise SegfoldError(f"{folder.path} holds a run whose settings cannot be read ({error}); {_ANEW}") from None


def check_bound(folder: RunFolder, job: FoldJob) -> None:
    """Refuses to train, or to call done, a fold of a run whose other folds saw other data, tables or folds.

    Raises:
        SegfoldError: names the fold, or the run, and what to do.
    """
    recorded = [(fold.path, recorded_parts(done)) for fold, done in _readable(folder, job.folder)]
    if _begun(folder) and folder.environment_path.exists():
        recorded.append((folder.path, {**job.bound, **read_json(folder.environment_path)}))
    for path, parts in recorded:
        if changed := job.changed(parts):
            raise SegfoldError(
                f"{path} was trained on other {' and '.join(changed)} than there are now; restore them, or {_ANEW}"
            )


def _readable(folder: RunFolder, needed: FoldFolder) -> Iterator[tuple[FoldFolder, dict[str, Any]]]:
    """The finished folds with their records; one that cannot be read matters only if it is ``needed``."""
    for fold in folder.finished_folds():
        try:
            yield fold, read_done(fold)
        except SegfoldError:
            if fold == needed:
                raise


def disagreement(done: Mapping[int, Mapping[str, Any]], predicted: bool = True) -> str | None:
    """How the finished folds of a run differ in what all of them should share, in words; None if they agree.

    Args:
        done: what each fold's ``done.json`` holds, by number; what versions before this one did not record is not compared.
        predicted: whether scores are compared as well: the metric, and the settings of the prediction.
    """
    (first, reference), *others = sorted(done.items())
    expected = _shared(reference, predicted)
    for number, record in others:
        found = _shared(record, predicted)
        differing = [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
        differing += _differing_settings(reference, record, predicted)
        if differing:
            return f"fold {number} was trained or scored with other {', '.join(sorted(differing))} than fold {first}"
    return None


def _shared(record: Mapping[str, Any], predicted: bool) -> dict[str, Any]:
    names = ("competition", "metric") if predicted else ("competition",)
    return recorded_parts(record) | {name: record[name] for name in names if name in record}


def changed_settings(done: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """Dotted paths at which a finished fold was trained with other settings; none if it did not record them."""
    recorded = _recorded_settings(done)
    return [] if recorded is None else differing_keys(recorded, experiment)


def _recorded_settings(done: Mapping[str, Any]) -> Experiment | None:
    try:
        return check_experiment(done["settings"], "")
    except (KeyError, SegfoldError):
        return None  # a version that did not record them, or that had others


def _differing_settings(old: Mapping[str, Any], new: Mapping[str, Any], predicted: bool) -> list[str]:
    before, after = _recorded_settings(old), _recorded_settings(new)
    if before is None or after is None:
        return []
    differing = differing_keys(before, after)
    if predicted:
        pairs = [
            (name, getattr(before.predict, name), getattr(after.predict, name)) for name in ("weights", "tta", "gate")
        ]
        differing += [f"predict.{name}" for name, one, other in pairs if one != other]
    return differing


def record_environment(folder: RunFolder, job: FoldJob, device: str) -> None:
    """Write ``environment.json`` of a run's first training: code, packages, device, data and folds."""
    if not folder.environment_path.exists() or not _begun(folder):
        write_json(folder.environment_path, {**environment(), "device": device, **job.bound})


def read_run(folder: RunFolder) -> Experiment:
    """Experiment that a run folder was trained with."""
    return check_experiment(read_yaml(folder.config_path), str(folder.config_path))


def check_test_sizes(experiment: Experiment, competition: Competition, home: Path) -> None:
    """Refuses, before hours of training, test images that its network could not predict; where they are decoded."""
    known = known_shapes(competition, "test", home)
    if known is not None:
        sizing_of(experiment).check(*known, "test image")


def fold_number(text: str, experiment: Experiment) -> int:
    """Number of a fold given on the command line.

    Raises:
        SegfoldError: not a number from 0 to one less than the experiment's ``folds.k``.
    """
    number = parse_fold(text)
    if number is None or number >= experiment.folds.k:
        raise SegfoldError(
            f"--fold {text[:30]}: expected a number from 0 to {experiment.folds.k - 1}, one less than folds.k"
        )
    return number


def experiment_folds(experiment: Experiment, competition: Competition, images: ImageSet, home: Path) -> np.ndarray:
    """Fold number of each image, from the experiment's fold file; the usual file is made where it is missing."""
    settings = experiment.folds
    if settings.file is not None:
        path = home / user_path(settings.file)
        folds = read_folds(path, images.ids)
        if (count := int(folds.max()) + 1) != settings.k:
            raise SegfoldError(f"{path} has {count} folds, folds.k is {settings.k}: set folds.k={count}")
        return folds
    path = fold_path(competition.name, settings.k, home)
    return ensure_folds(path, images.ids, images.coverage, images.groups, settings.k, settings.seed)
