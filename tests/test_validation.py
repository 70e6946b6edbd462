"""Scores of a validation fold: counted in pieces, so that memory does not grow with the number of images."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segfold.data.images import ImageSet
from segfold.machine import Runtime
from segfold.models import Output
from segfold.runs.folder import RunFolder
from segfold.settings import Experiment
from segfold.training import FoldJob, validation
from segfold.training.validation import score_network, scores_of, store_counts
from small_images import image_set
from tiny_competition import TINY

COUNT, SIDE = 80, 256
MEBIBYTE = 1 << 20


class MadeStore:
    """Probabilities that are made when they are asked for: one in the mask of each image, but for a stripe."""

    def __init__(self, images: ImageSet) -> None:
        self.ids, self._images = images.ids, images
        self.rows = {name: row for row, name in enumerate(images.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, row: int) -> np.ndarray:
        assert self._images.masks is not None
        found = self._images.masks[row].astype(np.uint16) * 65535
        found[: row % 7] = 0
        return found[None]


class AsMade(nn.Module):
    """A network that predicts the same."""

    def forward(self, pixels: Tensor) -> Output:
        return Output((pixels[:, :1].float() - 127.5) * 10)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return image_set(COUNT, (SIDE, SIDE), channels=1)


def peak(call: Callable[[], object]) -> int:
    """Most bytes that a call holds at once beside what was there."""
    call()  # imports and compiled code
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def brute_force_iou(images: ImageSet, store: MadeStore) -> float:
    assert images.masks is not None
    scores = []
    for row, truth in enumerate(images.masks):
        found = store.codes(row)[0] > 0
        scores.append((found & (truth > 0)).sum() / max((found | (truth > 0)).sum(), 1))
    return float(np.mean(scores))


@pytest.mark.parametrize("piece", [1, 5 * SIDE * SIDE + 1, 1 << 30])
def test_pieces_are_all_counted_once(images: ImageSet, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "PIECE_BYTES", piece)
    store = MadeStore(images)
    assert scores_of(store_counts(store, images), "iou").iou == pytest.approx(brute_force_iou(images, store))


def test_stored_masks_are_not_all_in_memory_at_once(images: ImageSet) -> None:
    all_masks = COUNT * SIDE * SIDE
    whole = peak(lambda: store_counts(MadeStore(images), images))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "PIECE_BYTES", MEBIBYTE // 2)
        assert peak(lambda: store_counts(MadeStore(images), images)) < all_masks / 2 < whole


def test_predicted_masks_are_not_all_in_memory_at_once(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "PIECE_BYTES", MEBIBYTE // 2)
    experiment = Experiment.model_validate(
        {
            "competition": "tiny",
            "input": {"size": SIDE},
            "model": {"name": "unet", "encoder": "test_resnet", "weights": "none"},
            "stages": {"one": {"epochs": 1, "loss": {"mask": {"bce": 1}}, "lr": 1.0e-3}},
            "predict": {"batch_size": 1},
        }
    )
    runtime = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
    # The last two images are trained on, so that there is a fold; the others are held out.
    folds = np.array([0] * (COUNT - 2) + [1] * 2)
    job = FoldJob(experiment, TINY, images, folds, 0, RunFolder(Path("nowhere")).fold(0))
    assert peak(lambda: score_network(AsMade().eval(), job, runtime)) < COUNT * SIDE * SIDE / 2
    assert score_network(AsMade().eval(), job, runtime).iou == 1
