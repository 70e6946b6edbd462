"""Whose a run folder is: what its folds were trained with, and whether that is what there is now."""

from collections.abc import Iterator, Mapping
from typing import Any

from segfold.config import check_experiment, differing_keys
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.runs.folder import FoldFolder, RunFolder
from segfold.runs.record import read_done, read_run, recorded_inputs
from segfold.schema import Settings
from segfold.settings import Experiment

ANEW = "give this one a name of its own with --run NAME"


def begun(folder: RunFolder) -> bool:
    """Whether a fold has a checkpoint or is finished; a folder of a first try with a wrong setting has neither."""
    return any(fold.last.exists() or fold.finished for fold in folder.folds())


def check_same_experiment(folder: RunFolder, experiment: Experiment) -> None:
    """Refuses a folder that holds a run which other settings trained, or one that nothing trained.

    Raises:
        SegfoldError: names the settings.
    """
    if folder.soup_path.exists():
        raise SegfoldError(f"{folder.path} holds means of other runs' weights, which are not trained; {ANEW}")
    if not begun(folder):
        return
    try:
        held = read_run(folder)
    except SegfoldError as error:
        raise SegfoldError(f"{folder.path} holds a run whose settings cannot be read ({error}); {ANEW}") from None
    if differing := differing_keys(held, experiment):
        raise SegfoldError(
            f"{folder.path} holds a run with other settings ({', '.join(differing)}); {ANEW}, or set them back"
        )


def changed_inputs(recorded: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Names of what a fold recorded otherwise than it is now: data, tables, folds.

    Folds of versions that knew nothing of tables are taken to have seen the present ones.

    Args:
        recorded: a checkpoint's ``bound``, or ``recorded_inputs`` of a ``done.json``.
        now: hashes by name.
    """
    return [name for name, digest in now.items() if recorded.get(name, digest if name == "tables" else None) != digest]


def check_same_inputs(folder: RunFolder, fold: FoldFolder, now: Mapping[str, str]) -> None:
    """Refuses to train, or to call done, a fold of a run whose other folds saw other data, tables or folds.

    Args:
        now: hashes of what there is, by name.

    Raises:
        SegfoldError: names the fold, or the run, and what to do.
    """
    recorded = [(other.path, recorded_inputs(done)) for other, done in _readable(folder, fold)]
    if begun(folder) and folder.environment_path.exists():
        recorded.append((folder.path, {**now, **read_json(folder.environment_path)}))
    for path, inputs in recorded:
        if changed := changed_inputs(inputs, now):
            raise SegfoldError(
                f"{path} was trained on other {' and '.join(changed)} than there are now; restore them, or {ANEW}"
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
    return recorded_inputs(record) | {name: record[name] for name in names if name in record}


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
    differing = set(differing_keys(before, after))
    if predicted:
        differing.update(_unequal("predict", before.predict, after.predict))
        if before.predict.boxes and after.predict.boxes:
            differing.update(_unequal("proposals", before.proposals, after.proposals))
    return sorted(differing - {"predict.batch_size"})


def _unequal(path: str, one: Settings, other: Settings) -> Iterator[str]:
    """Paths of the settings below one in which two differ."""
    for name in type(one).model_fields:
        if getattr(one, name) != getattr(other, name):
            yield f"{path}.{name}"


def comparable_folds(folder: RunFolder) -> tuple[dict[int, dict[str, Any]], str | None]:
    """What the ``done.json`` of each readable finished fold holds, and why they have no mean; None if they have one.

    They have none where one cannot be read, or where they differ in what all folds of a run should share.
    """
    found: dict[int, dict[str, Any]] = {}
    unreadable = None
    for fold in folder.finished_folds():
        try:
            found[fold.number] = read_done(fold)
        except SegfoldError as error:
            unreadable = str(error)
    if unreadable is None and found and (differing := disagreement(found)):
        return found, f"{folder.path}: {differing}; move that fold's folder away and train it again"
    return found, unreadable
