"""Predicting finished folds into their stores: one, or all that a submission of some runs would need, or a share of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from segfold.data.images import ImageSet, load_split
from segfold.disk import size_text
from segfold.ensemble.copies import drop_copies
from segfold.ensemble.left_out import LeftOut
from segfold.ensemble.members import (
    Entry,
    UnusableRunError,
    check_sets,
    check_usable,
    drop_changed,
    find_entries,
)
from segfold.errors import SegfoldError, shown
from segfold.inference.networks import build_network, image_channels, load_weights, weights_digest
from segfold.inference.shards import WeightsFile, predict_missing
from segfold.inference.stored import StoredImages, predict_named
from segfold.machine import Runtime, resolve
from segfold.observer import SILENT, Observer
from segfold.settings import Machine
from segfold.store import Probabilities, Shard

Split = Literal["oof", "test"]


@dataclass(frozen=True)
class PredictionOptions:
    """What of some runs to predict, and on what.

    Attributes:
        folds: numbers of the finished folds; None for all.
        use: named sets of weights of every run; None for each run's ``predict.weights``.
        shard: the share of each store's images to predict; None for all.
        competition: use the runs of this one only.
        fast: take runs of ``fast=true`` along with others.
        device: to predict on, as ``machine.device``.
    """

    splits: Sequence[Split] = ("oof", "test")
    folds: Sequence[int] | None = None
    use: Sequence[str] | None = None
    shard: Shard | None = None
    competition: str | None = None
    fast: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class PredictedStore:
    """What has become of one store.

    Attributes:
        images: how many of it this process was to predict.
        state: for people.
    """

    run: str
    fold: int
    split: Split
    weights: str
    images: int
    state: str


def machine_on(device: str) -> Machine:
    """What to predict on.

    Raises:
        SegfoldError: a device that nobody knows.
    """
    try:
        return Machine(device=device)
    except ValidationError:
        raise SegfoldError(
            f"--device {shown(device)}: expected auto, cpu, cuda, mps or xpu, or one of several such as cuda:1"
        ) from None


def predict_fold(
    entry: Entry,
    fold: int,
    images: ImageSet,
    split: Split,
    digests: Mapping[str, str] | None = None,
    machine: Machine | None = None,
    observer: Observer = SILENT,
) -> Probabilities:
    """The mean of a finished fold's named sets of weights on its held-out images, or on the test set; stored for next time.

    Args:
        images: the training set for ``oof``, else the test set.
        digests: see ``Entry.used``; None for those of the run's ``predict.weights``.
        machine: what to predict on.

    Raises:
        UnusableRunError: weights that are missing, damaged, or not those that the fold scored.
    """
    digests = entry.used(None)[fold] if digests is None else digests
    wanted, runtime = _stored_images(entry, fold, images, split), _runtime(entry, machine or Machine())

    def network_of(name: str) -> nn.Module:
        return _network(wanted, name, digests[name], runtime, observer)

    return predict_named(wanted, digests, network_of, runtime, observer)


def _stored_images(entry: Entry, fold: int, images: ImageSet, split: Split) -> StoredImages:
    try:
        rows = np.arange(len(images)) if split == "test" else images.position(entry.done[fold]["held_out"])
    except SegfoldError as error:
        raise UnusableRunError(str(error)) from None
    classes = len(entry.competition.classes)
    return StoredImages(entry.folder.fold(fold), entry.experiment, images, rows, split, classes)


def _runtime(entry: Entry, machine: Machine) -> Runtime:
    # What the run's settings name is obeyed; its other choices were made for the machine that trained it.
    return resolve(machine.model_copy(update={"precision": entry.experiment.machine.precision}))


def _network(wanted: StoredImages, name: str, digest: str, runtime: Runtime, observer: Observer) -> nn.Module:
    """The network with a set of weights, about to predict some images.

    Raises:
        UnusableRunError: see ``predict_fold``.
    """
    folder, needed = wanted.folder, size_text(2 * int(wanted.shapes.prod(axis=1).sum()))
    observer.say(f"predicting {folder.path} {wanted.split} with {name}: {len(wanted.rows):,} images, {needed} on disk")
    try:
        network = build_network(wanted.experiment, image_channels(wanted.images), wanted.images.task, fresh=False)
        load_weights(network, folder.weights(name))
    except SegfoldError as error:
        raise UnusableRunError(str(error)) from None
    if weights_digest(folder.weights(name)) != digest:
        raise UnusableRunError(f"{folder.weights(name)} is not the file that {folder.done} scored; restore it")
    return network.to(runtime.device).to(memory_format=torch.channels_last)


def predict_runs(
    paths: Sequence[Path], options: PredictionOptions, home: Path = Path(), observer: Observer = SILENT
) -> list[PredictedStore]:
    """Predict what a submission of finished runs would predict, as far as it is not there yet, or a share of it.

    Args:
        paths: run folders, and whatever else ``runs/*`` matches.

    Raises:
        SegfoldError: no usable run, runs of several competitions, a fold that no run has finished.
    """
    left_out = LeftOut(paths, observer)
    machine = machine_on(options.device)
    entries, lines = find_entries(paths, options.competition, home, options.fast)
    left_out.add(*lines)
    finished = {fold for entry in entries for fold in entry.done}
    if unfinished := sorted(set(options.folds or []) - finished):
        raise SegfoldError(
            f"fold {unfinished[0]} is finished in none of the runs; finished: {', '.join(map(str, sorted(finished)))}"
        )
    competition = entries[0].competition
    sets = {split: load_split(competition, split, home, observer.say) for split in ("train", "test")}
    entries, lines = drop_changed(entries, sets["train"])
    left_out.add(*lines)
    check_sets(entries, options.use)
    entries, lines = drop_copies(entries, options.use)
    left_out.add(*lines)
    made: list[PredictedStore] = []
    for entry in entries:
        try:
            for fold, digests in check_usable(entry, options.use, sets["test"]).items():
                if options.folds is None or fold in options.folds:
                    made += _predict_missing(entry, fold, digests, sets, options, machine, observer)
        except UnusableRunError as error:
            left_out.add(f"skipped {entry.given}: {error}")
    if not made:
        raise left_out.nothing_left()
    return made


def _predict_missing(
    entry: Entry,
    fold: int,
    digests: Mapping[str, str],
    sets: Mapping[str, ImageSet],
    options: PredictionOptions,
    machine: Machine,
    observer: Observer,
) -> list[PredictedStore]:
    made, runtime = [], _runtime(entry, machine)
    for split in options.splits:
        wanted = _stored_images(entry, fold, sets["train" if split == "oof" else "test"], split)
        for name, digest in digests.items():
            network_of = partial(_network, name=name, digest=digest, runtime=runtime, observer=observer)
            images, state = predict_missing(
                wanted, WeightsFile(name, digest), network_of, runtime, observer, options.shard
            )
            made.append(PredictedStore(entry.label, fold, split, name, images, state))
    return made
