"""Predictions in the probability store: made once, resumed when interrupted, never mixed up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from segfold.config import dump
from segfold.data.image_views import ImageViews
from segfold.data.images import ImageSet
from segfold.data.proposals import METHOD
from segfold.errors import SegfoldError
from segfold.inference.boxes import boxes_of
from segfold.inference.manner import PredictionSettings, units, view_counts
from segfold.inference.predict import predict_strips
from segfold.inference.stopwatch import Stopwatch
from segfold.machine import Runtime
from segfold.observer import SILENT, Observer
from segfold.runs.folder import FoldFolder
from segfold.schema import Settings
from segfold.settings import Experiment, Predict
from segfold.settings.boxes import Proposals
from segfold.store import (
    Cost,
    MeanStore,
    Probabilities,
    ProbabilityStore,
    StoreWriter,
    join_shards,
    open_store,
    remove_shards,
)

PIPELINE = 2
"""Raise it with every change after which the same weights and settings give other probabilities: in test-time
augmentation and its inverse, the sizing, the planes and channels of the input, a network's forward pass, the
order in which transforms are averaged. All that was predicted before is then predicted anew."""

_VIEWS = ("tiles", "boxes", "values", "merge")
"""Settings of the prediction that a store's meta holds where they are not at their defaults: it is older than they are.

With boxes go those of proposals that are not at theirs, and how these are searched."""


def tta_name(tta: tuple[str, ...]) -> str:
    """Name of a list of transforms in a store's path."""
    return "+".join(tta)


def prediction_meta(digest: str, experiment: Experiment, images: ImageSet) -> dict[str, Any]:
    """What a store's codes are made with; a store that says otherwise is predicted anew.

    Args:
        digest: sha256 of the weights file.
    """
    views = _changed(Predict(), experiment.predict, _VIEWS)
    proposals: dict[str, Any] = {}
    if experiment.predict.boxes:
        proposals = {"method": METHOD, **_changed(Proposals(), experiment.proposals)}
    return {
        "weights": digest,
        "tta": list(experiment.predict.tta),
        "input": {name: value for name, value in dump(experiment.input).items() if name != "random_offset"},
        "activation": images.task.activation,
        **images.fingerprints(experiment.input.channels),
        "fast": experiment.fast,
        "pipeline": PIPELINE,
        **({"views": views} if views else {}),
        **({"proposals": proposals} if proposals else {}),
    }


def _changed(plain: Settings, asked: Settings, names: Sequence[str] = ()) -> dict[str, Any]:
    """What is not as it is in ``plain``, of some settings or of all."""
    before, now = dump(plain), dump(asked)
    return {name: now[name] for name in names or now if now.get(name) != before.get(name)}


def weights_names(wanted: Sequence[str], made: Iterable[str], folder: FoldFolder) -> list[str]:
    """Named sets of weights to predict with; ``snapshots`` stands for all of them.

    Raises:
        SegfoldError: a set that the fold's training did not make.
    """
    names: list[str] = []
    for name in wanted:
        found = [known for known in made if known == name or (name == "snapshots" and known.startswith("snapshot"))]
        if not found:
            raise SegfoldError(f"{folder.path} has no weights named {name}; it has {', '.join(made)}")
        names += [known for known in found if known not in names]
    return names


@dataclass(frozen=True)
class StoredImages:
    """Some images of which a fold of a run has predictions in its stores, or is to have.

    Attributes:
        rows: indices into ``images``.
        split: ``oof`` or ``test``.
    """

    folder: FoldFolder
    experiment: Experiment
    images: ImageSet
    rows: np.ndarray
    split: str
    classes: int

    @property
    def ids(self) -> np.ndarray:
        """(N,) texts."""
        return np.asarray(self.images.ids[self.rows])

    @property
    def shapes(self) -> np.ndarray:
        """(N, 3) classes, height and width of each image's probabilities."""
        shapes = self.images.images.shapes[self.rows]
        return np.column_stack([np.full(len(shapes), self.classes), shapes[:, :2]])

    def place(self, weights: str) -> Path:
        """Folder of the stores that are made with a named set of weights."""
        return self.folder.predictions(weights, tta_name(self.experiment.predict.tta))

    def meta(self, digest: str) -> dict[str, Any]:
        """See ``prediction_meta``."""
        return prediction_meta(digest, self.experiment, self.images)

    def find(self, digest: str, weights: str = "model", observer: Observer = SILENT) -> ProbabilityStore | None:
        """The store of just these images, if it was made with exactly these weights and settings, or its shards were."""
        found = self.stored(digest, weights)
        if found is None:
            return self.joined(digest, weights, observer)
        remove_shards(self.place(weights), self.split)
        return found

    def stored(self, digest: str, weights: str = "model") -> ProbabilityStore | None:
        """As ``find``, of a whole store only."""
        store = open_store(self.place(weights), self.split, self.meta(digest))
        return store if store is not None and np.array_equal(store.ids, self.ids) else None

    def joined(self, digest: str, weights: str = "model", observer: Observer = SILENT) -> ProbabilityStore | None:
        """The store that the shards of these images make, once all are finished; see ``join_shards``."""
        return join_shards(self.place(weights), self.split, self.ids, self.meta(digest), observer)


def predict_named(
    wanted: StoredImages,
    digests: Mapping[str, str],
    network_of: Callable[[str], nn.Module],
    runtime: Runtime,
    observer: Observer = SILENT,
) -> Probabilities:
    """Mean prediction of some named sets of weights, each from its store; what is missing is predicted.

    Args:
        digests: name of each set, see ``weights_names``, and the sha256 of its file.
        network_of: the network with a set's weights, on the runtime's device; not called for what is stored.
    """
    stores: list[Probabilities] = []
    for name, digest in digests.items():
        store = wanted.find(digest, name, observer)
        if store is None:
            store = store_predictions(wanted, network_of(name).eval(), digest, name, runtime, observer)
        stores.append(store)
    return stores[0] if len(stores) == 1 else MeanStore(stores)


def store_predictions(
    wanted: StoredImages,
    network: nn.Module,
    digest: str,
    weights: str,
    runtime: Runtime,
    observer: Observer = SILENT,
) -> ProbabilityStore:
    """Predict images into the fold's store, unless it holds them already.

    Args:
        network: in eval mode, on the runtime's device, with the weights whose file has sha256 ``digest``.
        weights: name of the set of weights.
    """
    ready = wanted.find(digest, weights, observer)
    if ready is not None:
        return ready
    place, manner = wanted.place(weights), PredictionSettings.of(wanted.experiment, runtime)
    starts = unit_starts(wanted, manner)
    with StoreWriter(place, wanted.split, wanted.ids, wanted.shapes, wanted.meta(digest), starts=starts) as writer:
        store = writer.finish(write_predictions(writer, wanted, network, weights, manner, observer))
    remove_shards(place, wanted.split)
    return store


def unit_starts(wanted: StoredImages, manner: PredictionSettings) -> np.ndarray:
    """Places among some images at which those begin that are predicted together."""
    return units(manner, wanted.images.images.shapes[wanted.rows])


def write_predictions(
    writer: StoreWriter,
    wanted: StoredImages,
    network: nn.Module,
    weights: str,
    manner: PredictionSettings,
    observer: Observer = SILENT,
) -> Cost | None:
    """Predict the images that a store still lacks into it.

    Args:
        writer: of the store of just these images.

    Returns:
        What an image took, of those that were predicted now; None if there were none.
    """
    title = f"{wanted.folder.path} {wanted.split} {weights} {tta_name(manner.tta)}"
    boxes = boxes_of(wanted.images, wanted.rows, manner, observer.say, _proposing(wanted, observer))
    counts = view_counts(ImageViews(wanted.images, wanted.rows, manner.plan, boxes))
    done, total = int(counts[: writer.count].sum()), int(counts.sum())
    watch = Stopwatch()

    def progress(views: int) -> None:
        nonlocal done
        done += views
        watch.mark(views)
        observer.predicting(title, done, total)

    images, rows = wanted.images, wanted.rows[writer.count :]
    for strip in predict_strips(network, images, rows, manner, progress, observer.say, boxes):
        writer.append_rows(strip.id, strip.top, strip.planes)
        if strip.last:
            writer.close_image(strip.id, strip.image_logits)
    if not watch.views:
        return None
    images_measured = len(wanted.rows) * watch.views / total
    return Cost(watch.seconds / images_measured, max(round(images_measured), 1), manner.runtime.device_name)


def _proposing(wanted: StoredImages, observer: Observer) -> Callable[[], None]:
    """Tells an observer of each image whose proposals are there."""
    done, total = count(1), len(wanted.rows)
    title = f"{wanted.folder.path} {wanted.split} proposals"
    return lambda: observer.predicting(title, next(done), total)
