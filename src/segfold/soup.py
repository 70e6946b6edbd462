"""Soups: one network a fold, whose weights are the mean of what several runs have trained for that fold.

Predicting with it takes the time of one of them. It works where the runs began from the same weights and stayed near each
other, as fine-tunings of one network do (Wortsman et al., Model soups, arXiv 2203.05482); what began apart averages to
noise, and the scores of the soup say so. Only what one fold's training made is averaged: another fold's has seen the images
that this one holds out.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segfold.config import dump, dump_yaml
from segfold.ensemble.copies import drop_copies
from segfold.ensemble.members import Entry, check_sets, find_entries
from segfold.environment import environment
from segfold.errors import SegfoldError
from segfold.files import read_json, write_atomic, write_json
from segfold.inference.networks import network_task, save_weights, weights_digest
from segfold.locks import Lock
from segfold.machine import device_name, resolve
from segfold.observer import SILENT, Observer
from segfold.road import Run, fold_job
from segfold.runs.folder import RunFolder, run_folder
from segfold.runs.identity import ANEW, begun, changed_inputs, check_same_inputs
from segfold.runs.record import read_done, read_record, recorded_inputs
from segfold.settings import Experiment, Predict
from segfold.training.averages import mean_of_states
from segfold.training.finish import estimate_statistics, score_fold
from segfold.training.learner import record_run

_FREE = ("weights", "dropout")
"""Settings of a model that may differ: what it began with, and what only training sees."""


@dataclass(frozen=True)
class SoupFold:
    """A fold of a soup.

    Attributes:
        scores: what each of the runs scored on the fold; None where that was with other weights than the soup is made of.
        done: what its ``done.json`` holds.
    """

    fold: int
    scores: dict[str, float | None]
    done: dict[str, Any]


@dataclass(frozen=True)
class Soup:
    """A run whose weights are means, and its folds that were asked for."""

    folder: RunFolder
    folds: list[SoupFold]


def make_soup(
    paths: Sequence[Path],
    name: str,
    home: Path = Path(),
    folds: Sequence[int] | None = None,
    device: str | None = None,
    observer: Observer = SILENT,
) -> Soup:
    """Averages weights of runs, fold by fold, into ``runs/<name>``, a run like any other.

    Every set of weights counts alike: ``RUN@snapshots`` as often as there are snapshots. Batch-norm statistics are
    estimated anew, as those of ``swa`` are, on the fold's training images; settings are the first run's. What is there
    already is left as it is, so that a call that was stopped goes on.

    Args:
        paths: run folders, or ``RUN@SET``.
        folds: these alone; None for all that every run has finished.
        device: as ``machine.device``; None for that of the first run's settings.

    Raises:
        SegfoldError: a path that is no usable run, runs of other architectures, folds or data, a single set of weights,
            a name that another run has.
    """
    entries = _ingredients(paths, home, observer)
    first = entries[0]
    numbers = _folds(entries, folds, observer)
    for number in numbers:
        _check_fold(entries, number)
    experiment = _experiment(first, device)
    run = Run(experiment, first.competition, run_folder(home, name), home)
    _open(run, entries)
    return Soup(run.folder, [_fold(run, entries, number, observer) for number in numbers])


def _ingredients(paths: Sequence[Path], home: Path, observer: Observer) -> list[Entry]:
    entries, skipped = find_entries(paths, None, home, fast=True)
    if skipped:
        raise SegfoldError(f"{skipped[0].removeprefix('skipped ')}; a soup is made of all that is named, or of nothing")
    check_sets(entries, None)
    entries, copies = drop_copies(entries, None)
    for line in copies:
        observer.say(line)
    first, *others = entries
    for other in others:
        if differing := _differences(first, other):
            raise SegfoldError(
                f"{first.given} and {other.given} differ in {', '.join(differing)}: only weights of one architecture can "
                "be averaged; blend their predictions with submit instead"
            )
    return entries


def _differences(one: Entry, other: Entry) -> list[str]:
    """What two runs differ in that makes their networks, or what their networks see, other ones."""
    models = [dump(entry.experiment.model) for entry in (one, other)]
    names = [key for key in models[0] | models[1] if key not in _FREE and models[0].get(key) != models[1].get(key)]
    found = [f"model.{name}" for name in sorted(names)]
    if network_task(one.experiment, one.competition.task) != network_task(other.experiment, other.competition.task):
        found.append("whether a stage trains on objects")
    if one.experiment.input.channels != other.experiment.input.channels:
        found.append("input.channels")
    if one.experiment.fast != other.experiment.fast:
        found.append("fast")
    records = [read_record(entry.folder) for entry in (one, other)]
    seen = [(record.image_channels, record.mean, record.std) for record in records if record is not None]
    return found + (["the normalisation of their input"] if len(seen) == 2 and seen[0] != seen[1] else [])


def _folds(entries: Sequence[Entry], folds: Sequence[int] | None, observer: Observer) -> list[int]:
    """The folds to average, which all runs have finished."""
    finished = sorted({number for entry in entries for number in entry.done})
    lacking = {number: [entry.given for entry in entries if number not in entry.done] for number in finished}
    for number in finished if folds is None else folds:
        if number not in lacking:
            raise SegfoldError(f"fold {number} is finished in none of the runs; finished: {_listed(finished)}")
        if lacking[number] and folds is not None:
            raise SegfoldError(f"fold {number} is not finished in {', '.join(lacking[number])}; train it first")
        if lacking[number]:
            observer.say(f"left out fold {number}: not finished in {', '.join(lacking[number])}")
    found = [number for number in finished if not lacking[number] and (folds is None or number in folds)]
    if not found:
        each = "; ".join(f"{entry.given} {_listed(sorted(entry.done))}" for entry in entries)
        raise SegfoldError(f"no fold is finished in every run ({each}); finish the same folds of each")
    return found


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _check_fold(entries: Sequence[Entry], number: int) -> None:
    """Refuses to average what did not see the same images in training, or what is but one set of weights."""
    first, *others = entries
    inputs = recorded_inputs(first.done[number])
    for other in others:
        if changed := changed_inputs(inputs, recorded_inputs(other.done[number])):
            raise SegfoldError(
                f"fold {number} of {first.given} and of {other.given} were trained on other {' and '.join(changed)}: one "
                "has seen what the other holds out, or other images; a soup needs the same fold of the same fold file"
            )
    files = [path for entry in entries for path in _files(entry, number)]
    if len(files) < 2:
        raise SegfoldError(f"one set of weights is no soup: {files[0]}; name another run, or RUN@snapshots")


def _files(entry: Entry, number: int) -> list[Path]:
    return [entry.folder.fold(number).weights(name) for name in entry.used(None)[number]]


def _experiment(first: Entry, device: str | None) -> Experiment:
    """The first run's settings, predicting with the mean."""
    experiment = first.experiment
    predict = experiment.predict.model_copy(update={"weights": Predict().weights})
    machine = experiment.machine.model_copy(update={} if device is None else {"device": device})
    return experiment.model_copy(update={"predict": predict, "machine": machine})


def _open(run: Run, entries: Sequence[Entry]) -> None:
    """Makes the run's folder, or checks that it is of the same soup."""
    folder, of = run.folder, [entry.given for entry in entries]
    if folder.soup_path.exists():
        if (held := read_json(folder.soup_path).get("of")) != of:
            raise SegfoldError(f"{folder.path} is the soup of {', '.join(held)}; {ANEW}")
    elif begun(folder):
        raise SegfoldError(f"{folder.path} holds a run that was trained; {ANEW}")
    write_json(folder.soup_path, {"of": of})
    with write_atomic(folder.config_path, "w") as file:
        file.write(dump_yaml(run.experiment))


def _fold(run: Run, entries: Sequence[Entry], number: int, observer: Observer) -> SoupFold:
    """Averages one fold, unless that is done."""
    folder, used = run.folder.fold(number), {entry.given: entry.used(None)[number] for entry in entries}
    scores = {entry.given: entry.fold_score(number, used[entry.given]) for entry in entries}
    with Lock(folder.lock):
        if folder.finished:
            done = read_done(folder)
            if done.get("soup") != used:
                raise SegfoldError(f"{folder.path} was averaged of other weights than these runs have now; {ANEW}")
            observer.say(f"{folder.path} is done")
            return SoupFold(number, scores, done)
        return SoupFold(number, scores, _averaged(run, entries, number, used, observer))


def _averaged(
    run: Run, entries: Sequence[Entry], number: int, used: Mapping[str, Mapping[str, str]], observer: Observer
) -> dict[str, Any]:
    started = time.monotonic()
    job = fold_job(run, number, observer.say)
    if changed := changed_inputs(recorded_inputs(entries[0].done[number]), job.bound):
        raise SegfoldError(
            f"{entries[0].folder.fold(number).path} was trained on other {' and '.join(changed)} than there are now; "
            "restore them"
        )
    check_same_inputs(run.folder, job.folder, job.bound)
    paths = [path for entry in entries for path in _files(entry, number)]
    digests = [digest for of_run in used.values() for digest in of_run.values()]
    for path, digest in zip(paths, digests, strict=True):
        if not path.is_file() or weights_digest(path) != digest:
            raise SegfoldError(f"{path} is not the file that the fold scored; restore it")
    observer.say(f"fold {number}: the mean of {len(paths)} sets of weights")
    runtime = resolve(run.experiment.machine)
    network = job.network(fresh=False)
    network.load_state_dict(mean_of_states(paths))
    network = network.to(runtime.device).to(memory_format=torch.channels_last)
    if not run.folder.record_path.exists():
        record_run(job, network)
    if not run.folder.environment_path.exists():
        machine = run.experiment.machine
        write_json(run.folder.environment_path, {**environment(), "device": device_name(machine), **job.bound})
    estimate_statistics(network, job, runtime, job.epochs)
    made = {"soup": {given: dict(of_run) for given, of_run in used.items()}}
    weights = {"model": save_weights(network, job.folder.weights())}
    return score_fold(
        job, network, weights, runtime, made | {"seconds": round(time.monotonic() - started, 1)}, observer
    )
