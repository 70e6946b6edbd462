"""What happens on hardware that is not here, played by stand-ins: cards without bfloat16, full memory, several GPUs."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from segfold import machine as device
from segfold.cli.progress import Progress
from segfold.data.geometry.sizing import Sizing
from segfold.errors import SegfoldError
from segfold.inference.manner import PredictionSettings
from segfold.inference.predict import predict
from segfold.machine import Runtime
from segfold.models import Output
from segfold.stopping import Stopping
from segfold.training import FoldJob, checkpoint, loop, train_fold
from segfold.training.learner import Learner
from segfold.training.processes import unsynchronised
from small_project import fold_job, lines, make_project, same, train, weights

HALF = Runtime(torch.device("cpu"), "fp16", False, 1, 0)
SIZING = Sizing(32, 32)
SHORT = ("stages.warm.epochs=1", "stages.lovasz.epochs=0", "model.dropout=0")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def trained(job: Any) -> str:
    """Train a job; returns what was said."""
    console = Console(record=True, width=300, quiet=False, file=None)
    with Progress(False, console) as progress, console.capture() as said:
        train_fold(job, progress, Stopping())
    return said.get()


def checkpoint_precision(job: Any) -> str:
    saved = checkpoint.load(job.folder.last)
    assert saved is not None
    return str(saved.decided["precision"])


class Wide(nn.Module):
    """Multiplies far beyond 65504, the largest float16, and back; only bright images go so far."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.up.weight, 200.0)
        nn.init.constant_(self.down.weight, 1e-4)

    def forward(self, pixels: Tensor) -> Output:
        return Output(self.down(self.up(pixels.float())) - 5)


def test_batches_beyond_the_range_of_float16_are_predicted_in_float32(project: Path) -> None:
    images = fold_job(project).images
    bright = [bool(images.images[row].max() > 120) for row in range(len(images))]
    rows = np.array(sorted(range(len(images)), key=lambda row: bright[row])[:12])
    said: list[str] = []

    def found(runtime: Runtime) -> list[np.ndarray]:
        manner = PredictionSettings(SIZING, runtime, batch_size=1)
        return [found.planes for found in predict(Wide(), images, rows, manner, say=said.append)]

    half, full = found(HALF), found(replace(HALF, precision="fp32"))
    assert len(said) == 1 and "float32" in said[0]
    for ours, right, row in zip(half, full, rows):
        assert np.isfinite(ours).all() and np.abs(ours - right).max() < 0.02
        # Only what float16 cannot do is done in float32.
        assert np.array_equal(ours, right) == (images.images[row].astype(float).sum(axis=2).max() * 200 > 65504)


def widened(network: nn.Module) -> nn.Module:
    """A network whose first convolution leaves the range of float16, before a batch norm takes it back."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight *= 1e6
    return network


def test_a_training_beyond_the_range_of_float16_goes_on_in_float32(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the precision left to us; the result is the one that float32 would have had from the start."""
    build = FoldJob.network
    monkeypatch.setattr(FoldJob, "network", lambda *given, **how: widened(build(*given, **how)))
    right = fold_job(project, *SHORT, run="wide-fp32")
    trained(right)
    monkeypatch.setattr(device, "_precision", lambda _: "fp16")
    job = fold_job(project, *SHORT, "machine.precision=auto", run="wide-auto")
    said = trained(job)
    assert "in fp16; going on in float32" in said
    assert same(weights(job), weights(right)) and checkpoint_precision(job) == "fp32"
    asked = fold_job(project, *SHORT, "machine.precision=fp16", run="wide-fp16")
    with pytest.raises(SegfoldError, match=r"machine\.precision=fp32"):
        trained(asked)


def test_a_training_begun_without_a_scaler_goes_on_with_one(project: Path) -> None:
    """Begun on a CPU in float32, going on in float16: there is no state of a scaler to load."""
    job = fold_job(project, run="scaler")
    with Progress(False, Console(quiet=True)) as progress:
        stopping = Stopping(minutes=1e-9)
        assert train_fold(job, progress, stopping) is None
    said = trained(fold_job(project, "machine.precision=fp16", run="scaler"))
    assert "begun with precision fp32, going on with fp16" in said
    assert len(lines(job)) == 3 and checkpoint_precision(job) == "fp16"


class Full(nn.Module):
    """Runs out of memory at its n-th pass."""

    def __init__(self, network: nn.Module, passes: int) -> None:
        super().__init__()
        self.network, self.left = network, passes

    def forward(self, pixels: Tensor) -> Any:
        self.left -= 1
        if not self.left:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.\nSee the documentation")
        return self.network(pixels)


def test_a_training_out_of_memory_says_what_to_lower_and_goes_on_later(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fold_job(project, run="enough")
    train(plain)
    job = fold_job(project, run="full")
    # The third step of the first stage, of two steps an epoch: the first epoch is kept.
    made = Learner.__init__

    def short_of_memory(self: Learner, *given: Any) -> None:
        made(self, *given)
        self.forward = Full(self.network, 3)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "__init__", short_of_memory)
        with pytest.raises(
            SegfoldError, match=r"^out of memory on cpu: lower batch_size \(now 4\) or raise accumulate"
        ):
            train(job)
    assert len(lines(job)) == 1
    train(job)
    assert same(weights(job), weights(plain))


def test_a_prediction_out_of_memory_says_what_to_lower(project: Path) -> None:
    images = fold_job(project).images
    manner = PredictionSettings(SIZING, replace(HALF, precision="fp32"), batch_size=4)
    predictions = predict(Full(Wide(), 2), images, np.arange(8), manner)
    with pytest.raises(SegfoldError, match=r"^out of memory on cpu: lower predict\.batch_size \(now 4\)"):
        list(predictions)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Synchronised norms in training need all processes; one that works alone would wait for ever."""
    forward = nn.SyncBatchNorm.forward

    def wait(self: nn.SyncBatchNorm, pixels: Tensor) -> Tensor:
        assert not self.training, "the first process waits for the others, which wait for it"
        return forward(self, pixels)

    monkeypatch.setattr(nn.SyncBatchNorm, "forward", wait)


def test_an_average_out_of_memory_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("segfold.training.finish.reestimate", full)
    with pytest.raises(SegfoldError, match=r"^out of memory on cpu: lower batch_size"):
        train(fold_job(project, *SHORT, "swa={start: 0}", run="full-average"))


@pytest.mark.usefixtures("waiting")
def test_norms_that_wait_for_no_other_process() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3), nn.Sequential(nn.BatchNorm2d(4)))
    together = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    images = torch.randn(5, 3, 6, 6)
    with pytest.raises(AssertionError, match="waits for the others"):
        together(images)
    alone = unsynchronised(together)
    assert alone.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(alone(images), plain(images))
    for mine, theirs in zip(alone.state_dict().values(), plain.state_dict().values()):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(alone.eval()(images), plain.eval()(images))


@pytest.mark.usefixtures("waiting")
def test_averages_are_estimated_by_one_process_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole end of a fold whose network has synchronised norms, as on several GPUs."""
    job = fold_job(project, *SHORT, "swa={start: 0}", "best=2", run="norms")
    train(job)
    expected = {name: weights_of(job, name) for name in ("swa", "best")}
    finish = loop.finish_fold

    def synchronised(learner: Learner, *rest: Any) -> Any:
        average = learner.average
        assert average is not None
        average.network = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(average.network))
        return finish(learner, *rest)

    monkeypatch.setattr(loop, "finish_fold", synchronised)
    again = fold_job(project, *SHORT, "swa={start: 0}", "best=2", run="norms-again")
    train(again)
    for name, found in expected.items():
        assert same(weights_of(again, name), found)


def weights_of(job: Any, name: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(job.folder.weights(name))
