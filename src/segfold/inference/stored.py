"""Predictions in the probability store: made once, resumed when interrupted, never mixed up."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from segfold.competition import Competition
from segfold.config import Experiment
from segfold.data.images import ImageSet
from segfold.inference.device import Runtime
from segfold.inference.networks import sizing_of
from segfold.inference.predict import predict
from segfold.runs import FoldFolder
from segfold.store import ProbabilityStore, StoreWriter, open_store


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
        "input": experiment.input.model_dump(mode="json", exclude={"random_offset"}),
        "activation": "sigmoid",
        "data": images.fingerprint,
        "fast": experiment.fast,
    }


def find_predictions(
    digest: str, folder: FoldFolder, experiment: Experiment, images: ImageSet, split: str
) -> ProbabilityStore | None:
    """The store of a fold's predictions of ``images``, if it was made with exactly these weights and settings."""
    path = folder.predictions("model", tta_name(experiment.predict.tta))
    return open_store(path, split, prediction_meta(digest, experiment, images))


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
) -> ProbabilityStore:
    """Predict ``rows`` of ``images`` into the fold's store, unless it holds them already.

    Args:
        network: in eval mode, on the runtime's device, with the weights whose file has sha256 ``digest``.
        split: ``oof`` or ``test``.
        on_progress: called with images done and in total.
    """
    ready = find_predictions(digest, folder, experiment, images, split)
    if ready is not None and np.array_equal(ready.ids, images.ids[rows]):
        return ready
    classes = len(competition.classes)
    shapes = [(classes, int(height), int(width)) for height, width, _ in images.images.shapes[rows]]
    writer = StoreWriter(
        folder.predictions("model", tta_name(experiment.predict.tta)),
        split,
        images.ids[rows],
        shapes,
        prediction_meta(digest, experiment, images),
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
            on_batch=lambda samples: on_progress(writer.count, len(rows)),
        )
        for image_id, values in predictions:
            writer.append(image_id, values)
        return writer.finish()
