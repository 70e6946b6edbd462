"""The members of an ensemble: finished runs of one competition, with every prediction in its store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress as Bar
from torch import nn

from segfold.cli.experiment import read_run
from segfold.competition import Competition, load_competition
from segfold.data.images import ImageSet
from segfold.ensemble import OofMember, TestMember
from segfold.errors import SegfoldError
from segfold.files import size_text
from segfold.inference.device import resolve
from segfold.inference.networks import build_network, load_weights, sizing_of
from segfold.inference.stored import Task, predict_named, tta_name, weights_names
from segfold.runs import RunFolder, find_runs, read_json
from segfold.settings import Experiment, Machine
from segfold.store_mean import Probabilities


@dataclass(frozen=True)
class Entry:
    """One run of an ensemble and its finished folds."""

    folder: RunFolder
    experiment: Experiment
    done: dict[int, dict[str, Any]]
    """What each finished fold's ``done.json`` holds."""


def find_entries(paths: Sequence[Path], name: str | None, home: Path) -> tuple[Competition, list[Entry], list[str]]:
    """The usable runs among ``paths``, which must be of one competition.

    Args:
        name: use the runs of this competition only.

    Returns:
        The competition, its runs, and a line for each path that was skipped.

    Raises:
        SegfoldError: no usable run, or runs of several competitions and no ``name``.
    """
    runs, left_out = find_runs(paths)
    skipped = [f"skipped {path}: {reason}" for path, reason in left_out]
    entries: dict[str, list[Entry]] = {}
    competitions: dict[str, Competition] = {}
    for run in runs:
        experiment = read_run(run)
        done = {fold.number: read_json(fold.done) for fold in run.finished_folds()}
        competition = load_competition(experiment.competition, home)
        competitions[competition.name] = competition
        entries.setdefault(competition.name, []).append(Entry(run, experiment, done))
    if name is not None:
        others = [entry.folder.path for key, group in entries.items() if key != name for entry in group]
        skipped += [f"skipped {path}: of another competition" for path in others]
        entries = {key: group for key, group in entries.items() if key == name}
    if not entries:
        given = ", ".join(map(str, paths[:3])) + (" …" if len(paths) > 3 else "")
        reasons = f" ({'; '.join(skipped[:3])})" if skipped else ""
        raise SegfoldError(f"no usable run among {given}{reasons}; train a fold with `make fold=0 train` first")
    if len(entries) > 1:
        groups = "; ".join(f"{key}: {', '.join(e.folder.name for e in group)}" for key, group in entries.items())
        raise SegfoldError(f"runs of {len(entries)} competitions ({groups}); choose one with --competition NAME")
    ((key, group),) = entries.items()
    return competitions[key], group, skipped


def check_data(entries: Sequence[Entry], images: ImageSet) -> None:
    """Refuses runs that were trained on other data than what lies in ``data/`` now."""
    for entry in entries:
        for fold, done in entry.done.items():
            if done["data_hash"] != images.fingerprint:
                raise SegfoldError(
                    f"{entry.folder.fold(fold).path} was trained on other data than data/{entry.experiment.competition} "
                    "holds now; import the data that it was trained on, or leave the run out"
                )


def collect(
    entries: Sequence[Entry],
    competition: Competition,
    train: ImageSet,
    test: ImageSet,
    machine: Machine,
    weights: Sequence[str] | None = None,
) -> tuple[list[OofMember], list[TestMember]]:
    """Members of the out-of-fold and of the test ensemble; what is not predicted yet is predicted now.

    Args:
        weights: named sets of weights to use of every run; None for each run's ``predict.weights``.

    Raises:
        SegfoldError: a test image is too large for the input of a run's network; before anything is predicted.
    """
    for entry in entries:
        what = f"{entry.folder.path} cannot predict test image"
        sizing_of(entry.experiment).check(test.ids, test.images.shapes, what)
    oof, tests = [], []
    for entry in entries:
        stores: dict[str, dict[int, Probabilities]] = {"oof": {}, "test": {}}
        for fold in entry.done:
            for split, images in (("oof", train), ("test", test)):
                stores[split][fold] = _predictions(entry, fold, competition, images, split, machine, weights)
        oof.append(OofMember(entry.folder.name, stores["oof"]))
        tests.append(TestMember(entry.folder.name, stores["test"]))
    return oof, tests


def _predictions(
    entry: Entry,
    fold: int,
    competition: Competition,
    images: ImageSet,
    split: str,
    machine: Machine,
    weights: Sequence[str] | None,
) -> Probabilities:
    """The mean of a fold's named sets of weights."""
    folder, done, experiment = entry.folder.fold(fold), entry.done[fold], entry.experiment
    digests = done["weights"]
    names = weights_names(weights or experiment.predict.weights, digests, folder)
    rows = np.arange(len(images)) if split == "test" else images.position(done["held_out"])
    runtime = resolve(machine)
    with Bar(transient=True) as bar:
        shown = bar.add_task("", total=len(rows), visible=False)

        def network_of(name: str) -> nn.Module:
            pixels = int(images.images.shapes[rows, :2].prod(axis=1).sum())
            needed = size_text(2 * len(competition.classes) * pixels)
            print(f"predicting {folder.path} {split} with {name}: {len(rows):,} images, {needed} on disk")
            title = f"{folder.path} {split} {name} {tta_name(experiment.predict.tta)}"
            bar.update(shown, description=title, visible=True)
            network = build_network(experiment, competition, images, fresh=False)
            load_weights(network, folder.weights(name))
            return network.to(runtime.device).to(memory_format=torch.channels_last)

        classes = len(competition.classes)
        return predict_named(
            Task(folder, experiment, images, rows, split, classes, runtime),
            names,
            digests,
            network_of,
            lambda count, total: bar.update(shown, completed=count),
        )
