"""What goes wrong in a loader's worker arrives as it was raised there."""

import os
import signal
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from segfold.data.dataset import TrainingSet
from segfold.data.prediction_set import PredictionSet
from segfold.data.workers import batches, fitting, loader
from segfold.errors import SegfoldError
from segfold.inference.manner import PredictionSettings
from segfold.inference.predict import predict
from segfold.machine import Runtime
from segfold.stopping import leave_signals_to_parent
from segfold.training.batches import Batches
from small_images import PAD, image_set, prediction_set
from small_project import fold_job, make_project

RUNTIME = Runtime(torch.device("cpu"), "fp32", False, 1, 1)


class ManyPartsError(SegfoldError):
    """One that cannot be made from its message alone."""

    def __init__(self, name: str, place: int) -> None:
        super().__init__(f"{name} at {place}: mend it")


class Numbers(Dataset[int]):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int) -> int:
        if number == 7:
            raise ManyPartsError("seven", number)
        return number


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_before_an_error_come_and_then_the_error(workers: int) -> None:
    found = []
    with pytest.raises(SegfoldError) as caught:
        for batch in batches(loader(Numbers(), batch_size=3, num_workers=workers)):
            found.append(batch.tolist())
    assert str(caught.value) == "seven at 7: mend it"
    assert found == [[0, 1, 2], [3, 4, 5]]


def test_a_loader_without_errors_is_the_plain_one() -> None:
    samples = TrainingSet(image_set(6), np.arange(6), PAD, None, False)
    keys = [[(0, 1, 1), (0, 4, 4)], [(0, 2, 2), (0, 2, 2)]]
    for one, other in zip(
        batches(loader(samples, batch_sampler=keys)), DataLoader(samples, batch_sampler=keys), strict=True
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in other)


def spoil(monkeypatch: pytest.MonkeyPatch, dataset: type) -> None:
    """The data set raises, and is asked in a worker, which inherits it."""
    plain = DataLoader.__init__

    def fail(self: Any, key: Any) -> Any:
        raise SegfoldError("image 3 is bad: mend it")

    def with_worker(self: Any, *arguments: Any, **settings: Any) -> None:
        plain(self, *arguments, **{**settings, "num_workers": 1, "multiprocessing_context": "fork"})

    monkeypatch.setattr(DataLoader, "__init__", with_worker)
    monkeypatch.setattr(dataset, "__getitem__", fail)


def test_training_and_prediction_raise_what_a_worker_raised(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, PredictionSet)
    images = image_set(4)
    with pytest.raises(SegfoldError, match=r"^image 3 is bad: mend it$"):
        next(predict(torch.nn.Identity(), images, np.arange(4), PredictionSettings(PAD, RUNTIME, batch_size=2)))
    monkeypatch.undo()
    spoil(monkeypatch, TrainingSet)
    job = fold_job(make_project(tmp_path))
    training = Batches(job, job.stages[0], RUNTIME)
    try:
        with pytest.raises(SegfoldError, match=r"^image 3 is bad: mend it$"):
            next(iter(training.of(0, 0)))
    finally:
        training.close()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_workers_of_a_prediction_leave_signals_to_their_parent(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """On a GPU, where predictions have workers, a Ctrl-C must not end them before the parent has saved."""
    asked: list[dict[str, Any]] = []

    def watched(dataset: Any, **settings: Any) -> list[Any]:
        asked.append(settings)
        return []

    monkeypatch.setattr("segfold.inference.answers.loader", watched)
    runtime = Runtime(torch.device(device), "fp32", False, 1, 3)
    manner = PredictionSettings(PAD, runtime, batch_size=2)
    assert list(predict(torch.nn.Identity(), image_set(4), np.arange(4), manner)) == []
    assert asked[0]["worker_init_fn"] is leave_signals_to_parent
    assert asked[0]["num_workers"] == (3 if device == "cuda" else 0)


@pytest.mark.parametrize(
    ("workers", "batch", "free", "expected"),
    [
        (4, 10, None, (4, 4)),  # no limit
        (4, 10, 1000, (4, 4)),  # 18 batches are 180 bytes
        (4, 10, 300, (4, 2)),  # half of it has room for 15: 4·2 + 2
        (4, 10, 100, (3, 1)),  # ... for 5: 3 + 2
        (1, 10, 59, (0, 1)),  # not even for 3
        (0, 10, 1, (0, 4)),
    ],
)
def test_workers_as_the_shared_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch, workers: int, batch: int, free: int | None, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr("segfold.data.workers.shared_memory", lambda: free)
    assert fitting(workers, batch, 4) == expected


@pytest.mark.parametrize(
    ("channels", "mix", "dtype"),
    [
        (("image",), {}, np.uint8),
        (("image",), {}, np.uint16),
        (("image",), {"mixup": {}}, np.uint8),
        (("image",), {"cutmix": {}}, np.uint8),
        (("y", "image"), {}, np.uint8),
    ],
)
def test_bytes_of_a_sample_are_those_of_its_tensors(channels: tuple[str, ...], mix: Any, dtype: type) -> None:
    images = image_set(3, dtype=dtype)
    samples = TrainingSet(images, np.arange(3), PAD, None, False, channels=channels, mix=mix)
    tensors = [value for value in samples[0, 1, 1].values() if isinstance(value, torch.Tensor)]
    assert samples.sample_bytes == sum(tensor.nbytes for tensor in tensors)
    predictions = prediction_set(images, np.arange(3), PAD, channels=channels, tta=("identity", "hflip"))
    seen = predictions[0, 0].image
    assert predictions.sample_bytes == (seen.nbytes if isinstance(seen, torch.Tensor) else sum(x.nbytes for x in seen))
    assert isinstance(seen, list) == ("y" in channels)


def test_little_shared_memory_costs_workers_and_a_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segfold.data.workers.shared_memory", lambda: 1000)
    job = fold_job(make_project(tmp_path), "machine.workers=3")
    made = Batches(job, job.stages[0], RUNTIME)
    assert "--shm-size" in made.note and len(list(made.of(0, 0))) == 2
    assert made._loader.num_workers == 0


class Killed(Dataset[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> int:
        os.kill(os.getpid(), signal.SIGBUS)  # as the kernel does where the shared memory is full
        return number


def test_a_worker_that_the_system_ends_is_one_line() -> None:
    with pytest.raises(SegfoldError, match=r"ended by the system .*machine\.workers=0") as caught:
        list(batches(loader(Killed(), batch_size=2, num_workers=1)))
    assert "\n" not in str(caught.value)
