"""Predictions in the probability store: made once, resumed when interrupted, never mixed up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from segfold.config import dump
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.inference.predict import PredictionSettings, predict
from segfold.machine import Runtime
from segfold.observer import SILENT, Observer
from segfold.runs.folder import FoldFolder
from segfold.settings import Experiment
from segfold.store import MeanStore, Probabilities, ProbabilityStore, StoreWriter, open_store

PIPELINE = 2
"""Raise it with every change after which the same weights and settings give other probabilities: in test-time
augmentation and its inverse, the sizing, the planes and channels of the input, a network's forward pass, the
order in which transforms are averaged. All that was predicted before is then predicted anew."""


def tta_name(tta: tuple[str, ...]) -> str:
    """Name of a list of transforms in a store's path."""
    return "+".join(tta)


def prediction_meta(digest: str, experiment: Experiment, images: ImageSet) -> dict[str, Any]:
    """What a store's codes are made with; a store that says otherwise is predicted anew.

    Args:
        digest: sha256 of the weights file.
    """
    return {
        "weights": digest,
        "tta": list(experiment.predict.tta),
        "input": {key: value for key, value in dump(experiment.input).items() if key != "random_offset"},
        "activation": images.task.activation,
        **images.fingerprints(experiment.input.channels),
        "fast": experiment.fast,
        "pipeline": PIPELINE,
    }


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

    def place(self, weights: str) -> Path:
        """Folder of the stores that are made with a named set of weights."""
        return self.folder.predictions(weights, tta_name(self.experiment.predict.tta))

    def meta(self, digest: str) -> dict[str, Any]:
        """See ``prediction_meta``."""
        return prediction_meta(digest, self.experiment, self.images)

    def find(self, digest: str, weights: str = "model") -> ProbabilityStore | None:
        """The store of just these images, if it was made with exactly these weights and settings."""
        store = open_store(self.place(weights), self.split, self.meta(digest))
        return store if store is not None and np.array_equal(store.ids, self.images.ids[self.rows]) else None


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
        store = wanted.find(digest, name)
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
    ready = wanted.find(digest, weights)
    if ready is not None:
        return ready
    images, rows, manner = wanted.images, wanted.rows, PredictionSettings.of(wanted.experiment, runtime)
    title = f"{wanted.folder.path} {wanted.split} {weights} {tta_name(manner.tta)}"
    writer = StoreWriter(
        wanted.place(weights),
        wanted.split,
        images.ids[rows],
        [(wanted.classes, int(height), int(width)) for height, width, _ in images.images.shapes[rows]],
        wanted.meta(digest),
        starts=manner.batch_size,
    )
    with writer:

        def progress(samples: int) -> None:
            observer.predicting(title, writer.count, len(rows))

        for image_id, planes, logits in predict(network, images, rows[writer.count :], manner, progress, observer.say):
            writer.append(image_id, planes, logits)
        return writer.finish()
