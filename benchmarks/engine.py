"""segfold's engine on any network: the one place here that knows how a learner is put together."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmarks.peers.bare_steps import steps
from segfold.data.dataset import Sample
from segfold.machine import Runtime
from segfold.models import Output
from segfold.models.input import InputLayer
from segfold.optim import build_optimizer
from segfold.stopping import Stopping
from segfold.training import FoldJob
from segfold.training.averages import ExponentialAverage
from segfold.training.batches import Batches
from segfold.training.checkpoint import Position
from segfold.training.checks import stage_loss
from segfold.training.compiling import Compiled
from segfold.training.engine import Learner, Totals, train_epoch

RATE = 1e-3


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
        experiment, plan = job.experiment, job.stages[0]
        name, settings = plan.optimizer
        network = network.to(runtime.device).to(memory_format=torch.channels_last)
        assert experiment.ema is not None and experiment.clip is not None
        self.learner = Learner(
            network=network,
            forward=Compiled(network, print) if runtime.compile else network,
            optimizer=build_optimizer(name, network, **settings),
            average=ExponentialAverage(network, experiment.ema.decay),
            scaler=torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16"),
            runtime=runtime,
            clip=experiment.clip,
            seed=job.seed,
            accumulate=experiment.accumulate,
        )
        self.loss = stage_loss(plan.settings)
        self.images = plan.steps * plan.batch_size
        self._batches = Batches(job, plan, runtime)
        self._position = Position()

    def epoch(self) -> None:
        """An epoch as a fold trains it: through the engine, batches from the loader."""
        self.engine(self.samples())
        self._position.epochs, self._position.step = self._position.epochs + 1, 0

    def samples(self) -> Iterable[Sample]:
        """The loader's batches of the present epoch."""
        return self._batches.of(self._position.epochs, 0)

    def engine(self, batches: Iterable[Sample]) -> None:
        """A step through the engine on each batch."""
        train_epoch(
            self.learner,
            batches,
            lambda step: self.loss,
            lambda step: RATE,
            self._position,
            Totals(),
            Stopping(),
            lambda means: None,
        )

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
        learner = self.learner
        assert learner.average is not None and learner.clip is not None
        for group in learner.optimizer.param_groups:
            group["lr"] = RATE
        steps(
            batches,
            learner.network,
            learner.forward,
            lambda output, target, valid: self.loss(output.logits, output.aux, output.image, target, valid)[0],
            learner.optimizer,
            learner.runtime.autocast,
            learner.scaler,
            learner.clip,
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
