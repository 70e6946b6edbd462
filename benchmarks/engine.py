"""segfold's loop on any network: the one place here that knows how a learner is put together."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmarks.peers.bare_steps import steps
from segfold.data.dataset import Sample
from segfold.machine import Runtime
from segfold.models import Output
from segfold.models.input import InputLayer
from segfold.observer import SILENT
from segfold.stopping import Stopping
from segfold.training import FoldJob
from segfold.training.batches import Batches
from segfold.training.learner import Learner, Totals
from segfold.training.loop import Loop


class RawPixels(nn.Module):
    """A network of normalised images, called as segfold calls its own: raw pixels in, an ``Output`` out."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.input = InputLayer(mean, std)
        self.network = network

    def forward(self, pixels: Tensor) -> Output:
        """N×C×H×W in 0…255 to logits."""
        return Output(self.network(self.input(pixels)))


class Trained:
    """A network with all that a fold's first stage trains it with.

    Attributes:
        images: of an epoch.
    """

    def __init__(self, job: FoldJob, network: nn.Module, runtime: Runtime) -> None:
        self.learner = Learner(job, network, runtime, say=print)
        self.plan = job.stages[0]
        self.loss = self.plan.loss
        self.images = self.plan.steps * self.plan.batch_size
        self._loop = Loop(self.learner, SILENT, Stopping())
        self._batches = Batches(job, self.plan, runtime)

    def epoch(self) -> None:
        """An epoch as a fold trains it: through the loop, batches from the loader."""
        self.engine(self.samples())
        self.learner.position.epochs += 1

    def samples(self) -> Iterable[Sample]:
        """The loader's batches of the present epoch."""
        return self._batches.of(self.learner.position.epochs, 0)

    def engine(self, batches: Iterable[Sample]) -> None:
        """A step through the loop on each batch."""
        self._loop.steps(self.plan, batches)
        self.learner.position.step = 0
        self.learner.totals = Totals()

    def in_memory(self, batches: Iterable[Sample]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Image, target and valid area of batches, as a step wants them, on the device."""
        device = self.learner.runtime.device
        return [
            (
                batch["image"].to(device, memory_format=torch.channels_last),
                batch["mask"].to(device).float(),
                batch["valid"].to(device),
            )
            for batch in batches
        ]

    def bare(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """A step of the bare loop on each batch, with this learner's own parts."""
        learner, clip = self.learner, self.learner.job.experiment.clip
        assert learner.average is not None and clip is not None
        for group in learner.optimizer.param_groups:
            group["lr"] = learner.rate(0)
        steps(
            batches,
            learner.network,
            learner.forward,
            lambda output, target, valid: self.loss(output.logits, output.heads, target, valid)[0],
            learner.optimizer,
            learner.runtime.autocast,
            learner.scaler,
            clip,
            learner.average.update,
        )

    @property
    def average(self) -> nn.Module:
        """The network with the average weights."""
        assert self.learner.average is not None
        return self.learner.average.network

    def close(self) -> None:
        """End the loader's workers."""
        self._batches.close()
