"""Scores of a validation fold: counted one image after the other, so that memory does not grow with their number."""

import csv
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from torch import Tensor, nn

from segfold.data.images import ImageSet
from segfold.machine import Runtime
from segfold.models import Output
from segfold.runs.folder import RunFolder
from segfold.settings import Experiment
from segfold.tasks import VOID, Task
from segfold.training import FoldJob
from segfold.training.validation import class_scores, score_network, scores_of, store_tally, write_scores
from small_images import image_set, store
from tiny_competition import TINY

COUNT, SIDE = 80, 256


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


IOU = TINY.model_copy(update={"scoring": {"iou": {}}})


def test_every_image_is_counted_once(images: ImageSet) -> None:
    store = MadeStore(images)
    scores = scores_of(store_tally(store, images, IOU), IOU.scorer, IOU.task)
    assert scores.iou == scores.score == pytest.approx(brute_force_iou(images, store))


def test_stored_masks_are_not_all_in_memory_at_once(images: ImageSet) -> None:
    assert peak(lambda: store_tally(MadeStore(images), images, TINY)) < COUNT * SIDE * SIDE / 2


def test_predicted_masks_are_not_all_in_memory_at_once(images: ImageSet) -> None:
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


ABC = ("a", "b", "c")


def of_classes(task: Task, count: int = 9) -> tuple[ImageSet, MadeStore]:
    """Images of several classes, and predictions of which some pixels are wrong."""
    rng = np.random.default_rng(0)
    shape = (count, 20, 24)
    most = [*range(3), VOID] if task.exclusive else range(8)
    masks = [mask.astype(task.dtype) for mask in rng.choice(most, shape)]
    images = image_set(count, shape[1:], channels=1, task=task, masks=True)
    images = replace(images, masks=store(masks, masks=True), areas=None)
    made = MadeStore(images)
    codes = rng.integers(0, 65536, (count, 3, 20, 24)).astype(np.uint16)
    made.codes = lambda row: codes[row]  # type: ignore[method-assign]
    return images, made


@pytest.mark.parametrize("name", ["miou", "pixel_accuracy"])
def test_classes_that_exclude_each_other(name: str) -> None:
    competition = TINY.model_copy(update={"task_name": "multiclass", "classes": ABC, "scoring": {name: {}}})
    images, made = of_classes(competition.task)
    tally = store_tally(made, images, competition)
    found = scores_of(tally, competition.scorer, competition.task)
    assert images.masks is not None
    truth = np.concatenate([mask.ravel() for mask in images.masks])
    pred = np.concatenate([made.codes(row).argmax(axis=0).ravel() for row in range(len(images))])[truth != VOID]
    truth = truth[truth != VOID]
    each = jaccard_score(truth, pred, average=None)
    assert found.score == pytest.approx(each.mean() if name == "miou" else accuracy_score(truth, pred))
    assert found.iou == pytest.approx(each.mean()) and found.dice == pytest.approx(
        f1_score(truth, pred, average="macro")
    )
    table = class_scores(tally, competition.task)
    assert [score.mean for score in table.values()] == pytest.approx(each.tolist()) and list(table) == list(ABC)


def test_classes_each_by_itself(tmp_path: Path) -> None:
    competition = TINY.model_copy(update={"task_name": "multilabel", "classes": ABC, "scoring": {"dice": {}}})
    images, made = of_classes(competition.task)
    tally = store_tally(made, images, competition)
    expected = []
    assert images.masks is not None
    for row, mask in enumerate(images.masks):
        pairs = [(made.codes(row)[bit] >= 32768, mask >> bit & 1) for bit in range(3)]
        expected.append(np.mean([f1_score(truth.ravel(), pred.ravel()) for pred, truth in pairs]))
    assert scores_of(tally, competition.scorer, competition.task).score == pytest.approx(np.mean(expected))
    write_scores(tmp_path / "scores.csv", 0, made.ids, tally, competition.task)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(newline="")))
    assert [float(row["dice"]) for row in rows] == pytest.approx(expected, abs=1e-6)
    assert [int(row["true_area:c"]) for row in rows] == [int((mask >> 2).sum()) for mask in images.masks]
