"""Predictions in the probability store: made once, resumed when interrupted, never mixed up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.inference.device import Runtime
from segfold.inference.networks import sizing_of
from segfold.inference.predict import predict
from segfold.runs import FoldFolder
from segfold.settings import Experiment
from segfold.store import ProbabilityStore, open_store
from segfold.store_mean import MeanStore, Probabilities
from segfold.store_writer import StoreWriter


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
        "input": experiment.input.model_dump(mode="json", exclude={"random_offset"}, exclude_none=True),
        "activation": "sigmoid",
        "data": images.fingerprint,
        "fast": experiment.fast,
        **({"gate": experiment.predict.gate} if experiment.predict.gate else {}),
        **({"depth": list(images.limits["depth"])} if "depth" in experiment.input.channels else {}),
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


def find_predictions(
    digest: str, folder: FoldFolder, experiment: Experiment, images: ImageSet, split: str, weights: str = "model"
) -> ProbabilityStore | None:
    """The store of a fold's predictions of ``images``, if it was made with exactly these weights and settings."""
    path = folder.predictions(weights, tta_name(experiment.predict.tta))
    return open_store(path, split, prediction_meta(digest, experiment, images))


def predict_named(
    names: Sequence[str],
    digests: Mapping[str, str],
    network_of: Callable[[str], nn.Module],
    folder: FoldFolder,
    experiment: Experiment,
    competition: Competition,
    images: ImageSet,
    rows: np.ndarray,
    split: str,
    runtime: Runtime,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Probabilities:
    """Mean prediction of some named sets of weights, each from its store; what is missing is predicted.

    Args:
        names: see :func:`weights_names`.
        digests: sha256 of each set's file.
        network_of: the network with a set's weights, on the runtime's device; not called for what is stored.
    """
    stores = []
    for name in names:
        store = find_predictions(digests[name], folder, experiment, images, split, name)
        if store is None or not np.array_equal(store.ids, images.ids[rows]):
            network = network_of(name).eval()
            store = store_predictions(
                network,
                digests[name],
                folder,
                experiment,
                competition,
                images,
                rows,
                split,
                runtime,
                on_progress,
                weights=name,
            )
        stores.append(store)
    return stores[0] if len(stores) == 1 else MeanStore(stores)


def store_predictions(
    network: nn.Module,
    digest: str,
    folder: FoldFolder,
    experiment: Experiment,
    competition: Competition,
    images: ImageSet,
    rows: np.ndarray,
    split: str,
    runtime: Runtime,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    weights: str = "model",
) -> ProbabilityStore:
    """Predict ``rows`` of ``images`` into the fold's store, unless it holds them already.

    Args:
        network: in eval mode, on the runtime's device, with the weights whose file has sha256 ``digest``.
        split: ``oof`` or ``test``.
        on_progress: called with images done and in total.
        weights: name of the set of weights.
    """
    ready = find_predictions(digest, folder, experiment, images, split, weights)
    if ready is not None and np.array_equal(ready.ids, images.ids[rows]):
        return ready
    classes = len(competition.classes)
    shapes = [(classes, int(height), int(width)) for height, width, _ in images.images.shapes[rows]]
    writer = StoreWriter(
        folder.predictions(weights, tta_name(experiment.predict.tta)),
        split,
        images.ids[rows],
        shapes,
        prediction_meta(digest, experiment, images),
        batch=experiment.predict.batch_size,
    )
    with writer:
        predictions = predict(
            network,
            images,
            rows[writer.count :],
            sizing_of(experiment),
            channels=experiment.input.channels,
            tta=experiment.predict.tta,
            batch_size=experiment.predict.batch_size,
            runtime=runtime,
            gate=experiment.predict.gate,
            on_batch=lambda samples: on_progress(writer.count, len(rows)),
        )
        for image_id, values in predictions:
            writer.append(image_id, values)
        return writer.finish()
