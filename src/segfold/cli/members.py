"""The members of an ensemble: finished runs of one competition, with every prediction in its store."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress as Bar
from torch import nn

from segfold.cli.experiment import changed_settings, disagreement, read_run
from segfold.competition import Competition, load_competition
from segfold.data.images import ImageSet
from segfold.ensemble import OofMember, TestMember
from segfold.ensemble.blend import proportions
from segfold.errors import SegfoldError
from segfold.files import size_text
from segfold.inference.networks import build_network, load_weights, sizing_of, weights_digest
from segfold.inference.stored import Task, predict_named, tta_name, weights_names
from segfold.machine import resolve
from segfold.runs.folder import RunFolder, find_runs, read_done
from segfold.settings import Experiment, Machine
from segfold.store.mean import Probabilities
from segfold.training.plan import changed_parts, recorded_parts


@dataclass(frozen=True)
class Entry:
    """One run of an ensemble and its finished folds."""

    folder: RunFolder
    experiment: Experiment
    done: dict[int, dict[str, Any]]
    """What each finished fold's ``done.json`` holds."""
    label: str
    """The run's name; its path where another run has the same name."""
    weight: float = 1.0
    """Its share in the blend, in any scale."""

    @property
    def competition(self) -> str:
        """Name of the competition that its folds were trained for."""
        return str(next(iter(self.done.values()))["competition"])

    def used(self, weights: Sequence[str] | None) -> dict[int, dict[str, str]]:
        """The named sets of weights that each fold predicts with, and the sha256 of each set's file.

        Args:
            weights: what to use of every run; None for the run's ``predict.weights``.

        Raises:
            SegfoldError: a set that a fold's training did not make.
        """
        found = {}
        for number, done in self.done.items():
            names = weights_names(weights or self.experiment.predict.weights, done["weights"], self.folder.fold(number))
            found[number] = {name: done["weights"][name] for name in names}
        return found


@dataclass(frozen=True)
class Predicted:
    """A run whose folds have predicted all that a submission needs."""

    entry: Entry
    used: dict[int, dict[str, str]]
    """See :meth:`Entry.used`."""
    oof: OofMember
    test: TestMember


class _UnusableRunError(SegfoldError):
    """A run that cannot be predicted with, whatever its neighbours can."""


def find_entries(
    paths: Sequence[Path], name: str | None, home: Path, fast: bool = False
) -> tuple[Competition, list[Entry], list[str]]:
    """The usable runs among ``paths``, which must be of one competition.

    Args:
        name: use the runs of this competition only.
        fast: take runs of ``fast=true`` along, which are else left out beside any other run.

    Returns:
        The competition, its runs, and a line for each path that was skipped.

    Raises:
        SegfoldError: no usable run, or runs of several competitions and no ``name``.
    """
    runs, left_out = find_runs(paths)
    skipped = [f"skipped {path}: {reason}" for path, reason in left_out]
    entries: list[Entry] = []
    competitions: dict[str, Competition] = {}
    labels = Counter(run.name for run in runs)
    for run in runs:
        try:
            entry, competition = _read_entry(run, home, run.name if labels[run.name] == 1 else str(run.path))
            if competitions.setdefault(competition.name, competition) != competition:
                raise SegfoldError(f"its competition file, {entry.experiment.competition}, differs from another run's")
        except SegfoldError as error:
            skipped.append(f"skipped {run.path}: {error}")
            continue
        entries.append(entry)

    def keep(wanted: Callable[[Entry], bool], reason: str) -> None:
        skipped.extend(f"skipped {entry.folder.path}: {reason}" for entry in entries if not wanted(entry))
        entries[:] = filter(wanted, entries)

    if name is not None:
        keep(lambda entry: entry.competition == name, "of another competition")
    if not fast and not all(entry.experiment.fast for entry in entries):
        keep(lambda entry: not entry.experiment.fast, "a fast=true run of a few images; --fast takes it along")
    skipped += _drop_copies(entries)
    if not entries:
        raise nothing_left(paths, skipped)
    groups: dict[str, list[str]] = {}
    for entry in entries:
        groups.setdefault(entry.competition, []).append(entry.label)
    if len(groups) > 1:
        named = "; ".join(f"{key}: {', '.join(labels)}" for key, labels in groups.items())
        raise SegfoldError(f"runs of {len(groups)} competitions ({named}); choose one with --competition NAME")
    return competitions[entries[0].competition], entries, skipped


def nothing_left(paths: Sequence[Path], skipped: Sequence[str]) -> SegfoldError:
    """What to say when no run is usable; the reasons are the lines of `find_entries`."""
    given = ", ".join(map(str, paths[:3])) + (" …" if len(paths) > 3 else "")
    reasons = f" ({'; '.join(skipped[:3])})" if skipped else ""
    return SegfoldError(f"no usable run among {given}{reasons}; train a fold with `make fold=0 train` first")


def _read_entry(run: RunFolder, home: Path, label: str) -> tuple[Entry, Competition]:
    experiment = read_run(run)
    competition = load_competition(experiment.competition, home)
    done = {fold.number: read_done(fold) for fold in run.finished_folds()}
    for number, record in done.items():
        if record["competition"] != competition.name:
            raise SegfoldError(
                f"fold {number} was trained for {record['competition']}, config.yaml says {competition.name}"
            )
        if changed := changed_settings(record, experiment):
            raise SegfoldError(f"fold {number} was trained with other {', '.join(changed)} than config.yaml says")
    if differing := disagreement(done, predicted=False):
        raise SegfoldError(f"{differing}; move that fold's folder away")
    return Entry(run, experiment, done, label), competition


def _drop_copies(entries: list[Entry]) -> list[str]:
    """Takes out runs that add nothing to another one: the same weights of the same folds, predicting in the same way."""
    lines = []
    for entry in entries[::-1]:  # of two that are equal, the first stays
        mine = set(_predictors(entry))
        for other in entries:
            if other is not entry and mine <= set(_predictors(other)):
                lines.append(f"skipped {entry.folder.path}: a copy of {other.folder.path}, with the same weights")
                entries.remove(entry)
                break
    return lines


def _predictors(entry: Entry) -> Iterator[tuple[Any, ...]]:
    predict = entry.experiment.predict
    for number, done in entry.done.items():
        weights = tuple(sorted(map(str, done["weights"].items())))
        yield entry.competition, number, weights, predict.weights, predict.tta, predict.gate


def weighted(entries: Sequence[Entry], weights: Sequence[float] | None) -> list[Entry]:
    """The runs with their weights: as given, or all alike.

    Raises:
        SegfoldError: not one weight a run, or weights that no blend can have.
    """
    if weights is None:
        return list(entries)
    if len(weights) != len(entries):
        names = ", ".join(entry.label for entry in entries)
        raise SegfoldError(
            f"--weights has {len(weights)} numbers for {len(entries)} usable runs ({names}); give one a run"
        )
    proportions(weights, [1] * len(weights))
    return [replace(entry, weight=weight) for entry, weight in zip(entries, weights)]


def drop_changed(entries: Sequence[Entry], images: ImageSet) -> tuple[list[Entry], list[str]]:
    """The runs that were trained on the data that lies in ``data/`` now, and a line for each other one."""
    kept, skipped = [], []
    for entry in entries:
        now = images.fingerprints(entry.experiment.input.channels)
        changed = {fold: changed_parts(recorded_parts(done), now) for fold, done in entry.done.items()}
        if parts := next(filter(None, changed.values()), None):
            skipped.append(
                f"skipped {entry.folder.path}: trained on other {' and '.join(parts)} than data/{entry.competition} holds now; "
                "import the data that it was trained on"
            )
        else:
            kept.append(entry)
    return kept, skipped


def collect(
    entries: Sequence[Entry],
    competition: Competition,
    train: ImageSet,
    test: ImageSet,
    machine: Machine,
    weights: Sequence[str] | None = None,
) -> tuple[list[Predicted], list[str]]:
    """Members of the out-of-fold and of the test ensemble; what is not predicted yet is predicted now.

    Args:
        weights: named sets of weights to use of every run; None for each run's ``predict.weights``.

    Returns:
        The runs that have predicted, and a line for each that cannot: its weights are missing or damaged, or a test
        image is too large for the input of its network.

    Raises:
        SegfoldError: a run lacks one of ``weights``; before anything is predicted.
    """
    if weights is not None:
        for entry in entries:
            entry.used(weights)
    found, skipped = [], []
    for entry in entries:
        stores: dict[str, dict[int, Probabilities]] = {"oof": {}, "test": {}}
        try:
            used = _used(entry, weights)
            _check_sizes(entry, test)
            for fold, digests in used.items():
                for split, images in (("oof", train), ("test", test)):
                    stores[split][fold] = _predictions(entry, fold, competition, images, split, machine, digests)
        except _UnusableRunError as error:
            skipped.append(f"skipped {entry.folder.path}: {error}")
            continue
        oof, tests = OofMember(entry.label, stores["oof"]), TestMember(entry.label, stores["test"])
        found.append(Predicted(entry, used, oof, tests))
    return found, skipped


def _used(entry: Entry, weights: Sequence[str] | None) -> dict[int, dict[str, str]]:
    try:
        return entry.used(weights)
    except SegfoldError as error:
        raise _UnusableRunError(str(error)) from None


def _check_sizes(entry: Entry, test: ImageSet) -> None:
    try:
        sizing_of(entry.experiment).check(test.ids, test.images.shapes, "test image")
    except SegfoldError as error:
        raise _UnusableRunError(str(error)) from None


def _predictions(
    entry: Entry,
    fold: int,
    competition: Competition,
    images: ImageSet,
    split: str,
    machine: Machine,
    digests: Mapping[str, str],
) -> Probabilities:
    """The mean of a fold's named sets of weights."""
    folder, done, experiment = entry.folder.fold(fold), entry.done[fold], entry.experiment
    try:
        rows = np.arange(len(images)) if split == "test" else images.position(done["held_out"])
    except SegfoldError as error:
        raise _UnusableRunError(str(error)) from None
    # What the run's settings name is obeyed; its other choices were made for the machine that trained it.
    runtime = resolve(machine.model_copy(update={"precision": experiment.machine.precision}))
    # Elsewhere than on a terminal a bar would leave blank lines.
    with Bar(transient=True, disable=not sys.stdout.isatty()) as bar:
        shown = bar.add_task("", total=len(rows), visible=False)

        def network_of(name: str) -> nn.Module:
            pixels = int(images.images.shapes[rows, :2].prod(axis=1).sum())
            needed = size_text(2 * len(competition.classes) * pixels)
            print(f"predicting {folder.path} {split} with {name}: {len(rows):,} images, {needed} on disk")
            title = f"{folder.path} {split} {name} {tta_name(experiment.predict.tta)}"
            bar.update(shown, description=title, visible=True)
            try:
                network = build_network(experiment, competition, images, fresh=False)
                load_weights(network, folder.weights(name))
            except SegfoldError as error:
                raise _UnusableRunError(str(error)) from None
            if weights_digest(folder.weights(name)) != digests[name]:
                raise _UnusableRunError(f"{folder.weights(name)} is not the file that {folder.done} scored; restore it")
            return network.to(runtime.device).to(memory_format=torch.channels_last)

        classes = len(competition.classes)
        return predict_named(
            Task(folder, experiment, images, rows, split, classes, runtime),
            list(digests),
            digests,
            network_of,
            lambda count, total: bar.update(shown, completed=count),
        )
