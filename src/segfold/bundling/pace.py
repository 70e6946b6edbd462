"""How long a host takes for its images, by what they took here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from segfold.data.edge_boxes import Found, ProposalSettings, edge_boxes
from segfold.data.images import ImageSet, has_test, load_split
from segfold.ensemble.members import Entry
from segfold.errors import SegfoldError
from segfold.inference.boxes import boxes_of
from segfold.inference.manner import PredictionSettings
from segfold.inference.networks import build_network, image_channels
from segfold.inference.predict import predict_strips
from segfold.inference.stored import tta_name
from segfold.layouts.ahead import map_files
from segfold.machine import device_name, resolve
from segfold.observer import SILENT, Observer
from segfold.predicting import machine_on
from segfold.store import Cost, open_store

ENOUGH = 3.0
"""Seconds of measuring a network."""
_MOST = 256  # images that a network is measured on at a time
_PASSES = 5
SPARE = 0.9
"""Share of a limit that images may take: reading them, starting, and writing masks need the rest."""


@dataclass(frozen=True)
class Pace:
    """How long an image takes.

    Attributes:
        seconds: through all networks of an ensemble.
        networks: how many they are.
        measured: on what, for people.
    """

    seconds: float
    networks: int
    measured: str


def stored_pace(entries: Sequence[Entry]) -> Pace | None:
    """Seconds that an image took through the networks of some runs when they predicted; None unless all of them say so.

    Runs that predict by boxes never do: what finding these takes is not written down.
    """
    if any(entry.experiment.predict.boxes is not None for entry in entries):
        return None
    costs = [
        _stored_cost(entry, fold, name, digest)
        for entry in entries
        for fold, sets in entry.used(None).items()
        for name, digest in sets.items()
    ]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    devices = dict.fromkeys(cost.device for cost in known)
    return Pace(sum(cost.seconds for cost in known), len(known), ", ".join(devices))


def _stored_cost(entry: Entry, fold: int, name: str, digest: str) -> Cost | None:
    place = entry.folder.fold(fold).predictions(name, tta_name(entry.experiment.predict.tta))
    stores = (open_store(place, split, None) for split in ("test", "oof"))
    return next(
        (each.cost for each in stores if each is not None and each.meta["weights"] == digest and each.cost), None
    )


def measured_pace(entries: Sequence[Entry], home: Path, device: str = "auto", observer: Observer = SILENT) -> Pace:
    """Seconds that an image takes through the networks of some runs, measured on known test images, else training images.

    The networks of a run are alike, so one of each is measured, with weights as they come. Proposals, which are kept, are found
    once for all networks that ask for the same.

    Raises:
        SegfoldError: no images.
    """
    competition = entries[0].competition
    split = load_split(competition, "test" if has_test(competition, home) else "train", home, observer.say)
    seconds, count = 0.0, 0
    searches = {entry.experiment.proposals.search for entry in entries if entry.experiment.predict.boxes is not None}
    for search in searches:
        each = _seconds_to_propose(split, search)
        observer.say(f"proposals: {each:.4f} s an image")
        seconds += each
    for entry in entries:
        networks = sum(len(sets) for sets in entry.used(None).values())
        each = _seconds_an_image(entry, split, device)
        observer.say(f"{entry.label}: {each:.4f} s an image and network, {networks} networks")
        seconds += networks * each
        count += networks
    return Pace(seconds, count, device_name(machine_on(device)))


def _seconds_an_image(entry: Entry, images: ImageSet, device: str) -> float:
    experiment = entry.experiment
    machine = machine_on(device).model_copy(update={"precision": experiment.machine.precision})
    runtime = resolve(machine)
    network = build_network(experiment, image_channels(images), entry.competition.task, fresh=False)
    network = network.eval().to(runtime.device).to(memory_format=torch.channels_last)
    manner = PredictionSettings.of(experiment, runtime)

    def taken(count: int) -> float:
        rows = np.linspace(0, len(images) - 1, count).astype(np.int64)
        boxes = boxes_of(images, rows, manner)
        start = time.perf_counter()
        for _ in predict_strips(network, images, rows, manner, boxes=boxes):
            pass
        return time.perf_counter() - start

    count = min(len(images), manner.batch_size)
    taken(count)  # what comes once: kernels are chosen, memory is got
    found: list[float] = []
    spent = 0.0
    while spent < ENOUGH and len(found) < _PASSES:
        seconds = taken(count)
        found.append(seconds / count)
        spent += seconds
        count = min(4 * count, _MOST, len(images))
    return min(found)  # of passes that other processes disturb, the one that they disturbed least


def _seconds_to_propose(images: ImageSet, search: ProposalSettings) -> float:
    def found(row: int) -> Found:
        return edge_boxes(images.images.reader(row), search)

    rows = np.linspace(0, len(images) - 1, min(len(images), _MOST)).astype(np.int64).tolist()
    found(rows[0])  # what comes once
    start, done = time.perf_counter(), 0
    for _ in map_files(found, rows):
        done += 1
        if time.perf_counter() - start > ENOUGH:
            break
    return (time.perf_counter() - start) / done


def check_fits(pace: Pace, images: int, limit: float, slower: float = 1.0) -> float:
    """Seconds that a host takes for its images, which must fit a limit.

    Args:
        images: how many.
        limit: in seconds; ``SPARE`` of it is for the images.
        slower: how many times longer the host takes than this machine.

    Raises:
        SegfoldError: they take longer.
    """
    needed = pace.seconds * images * slower
    if needed > SPARE * limit:
        raise SegfoldError(
            f"{images:,} images through {pace.networks} networks take {_hours(needed)} at {pace.seconds * slower:.3g} s an "
            f"image (measured on {pace.measured}{'' if slower == 1 else f', times {slower:g}'}), and {_hours(limit)} leaves "
            f"{_hours(SPARE * limit)} for them: take fewer members or folds, or test-time augmentation of fewer views"
        )
    return needed


def _hours(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.1f} min"
        if seconds >= 60
        else f"{seconds:.2g} s"
    )
