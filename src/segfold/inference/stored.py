"""Predictions in the probability store: made once, resumed when interrupted, never mixed up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from segfold.config import dump
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.inference.networks import sizing_of
from segfold.inference.predict import predict
from segfold.machine import Runtime
from segfold.runs.folder import FoldFolder
from segfold.settings import Experiment
from segfold.store.mean import MeanStore, Probabilities
from segfold.store.reader import ProbabilityStore, open_store
from segfold.store.writer import StoreWriter

PIPELINE = 1
"""Raise it with every change after which the same weights and settings give other probabilities: in test-time
augmentation and its inverse, the sizing, the planes and channels of the input, the gate, a network's forward pass, the
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
        "activation": "sigmoid",
        **images.fingerprints(experiment.input.channels),
        "fast": experiment.fast,
        "pipeline": PIPELINE,
        **({"gate": experiment.predict.gate} if experiment.predict.gate else {}),
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
class Task:
    """Some images that a fold of a run is to predict into its stores."""

    folder: FoldFolder
    experiment: Experiment
    images: ImageSet
    rows: np.ndarray
    """Indices into ``images``."""
    split: str
    """``oof`` or ``test``."""
    classes: int
    runtime: Runtime


def find_predictions(
    digest: str, folder: FoldFolder, experiment: Experiment, images: ImageSet, split: str, weights: str = "model"
) -> ProbabilityStore | None:
    """The store of a fold's predictions of ``images``, if it was made with exactly these weights and settings."""
    path = folder.predictions(weights, tta_name(experiment.predict.tta))
    return open_store(path, split, prediction_meta(digest, experiment, images))


def predict_named(
    task: Task,
    names: Sequence[str],
    digests: Mapping[str, str],
    network_of: Callable[[str], nn.Module],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Probabilities:
    """Mean prediction of some named sets of weights, each from its store; what is missing is predicted.

    Args:
        names: see :func:`weights_names`.
        digests: sha256 of each set's file.
        network_of: the network with a set's weights, on the runtime's device; not called for what is stored.
        on_progress: called with images done and in total.
    """
    stores = []
    for name in names:
        store = _stored(task, digests[name], name)
        if store is None:
            store = store_predictions(task, network_of(name).eval(), digests[name], name, on_progress)
        stores.append(store)
    return stores[0] if len(stores) == 1 else MeanStore(stores)


def store_predictions(
    task: Task,
    network: nn.Module,
    digest: str,
    weights: str = "model",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ProbabilityStore:
    """Predict the images of ``task`` into the fold's store, unless it holds them already.

    Args:
        network: in eval mode, on the runtime's device, with the weights whose file has sha256 ``digest``.
        weights: name of the set of weights.
        on_progress: called with images done and in total.
    """
    ready = _stored(task, digest, weights)
    if ready is not None:
        return ready
    images, rows, settings = task.images, task.rows, task.experiment.predict
    writer = StoreWriter(
        task.folder.predictions(weights, tta_name(settings.tta)),
        task.split,
        images.ids[rows],
        [(task.classes, int(height), int(width)) for height, width, _ in images.images.shapes[rows]],
        prediction_meta(digest, task.experiment, images),
        batch=settings.batch_size,
    )
    with writer:
        predictions = predict(
            network,
            images,
            rows[writer.count :],
            sizing_of(task.experiment),
            channels=task.experiment.input.channels,
            tta=settings.tta,
            batch_size=settings.batch_size,
            runtime=task.runtime,
            gate=settings.gate,
            on_batch=lambda samples: on_progress(writer.count, len(rows)),
        )
        for image_id, values in predictions:
            writer.append(image_id, values)
        return writer.finish()


def _stored(task: Task, digest: str, weights: str) -> ProbabilityStore | None:
    """The store of just the images of ``task``, if there is one."""
    store = find_predictions(digest, task.folder, task.experiment, task.images, task.split, weights)
    return store if store is not None and np.array_equal(store.ids, task.images.ids[task.rows]) else None
