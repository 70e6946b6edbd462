"""One epoch: forward, loss, backward, step, average. Nothing in the step waits for the device."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segfold.data.dataset import Sample
from segfold.faults import fault
from segfold.losses import StageLoss
from segfold.machine import Runtime
from segfold.optim import Schedule, frozen_mode
from segfold.stopping import Stopping
from segfold.training.averages import ExponentialAverage
from segfold.training.checkpoint import Position
from segfold.training.gradient import Outputs, backward
from segfold.training.processes import ALONE, Group

REFRESH_SECONDS = 0.5


class NotFiniteError(Exception):
    """The loss became NaN or infinite."""


@dataclass
class Learner:
    """The parts of a fold's training that change with every step."""

    network: nn.Module
    """The trained module; ``forward`` may be a compiled twin that shares its weights."""
    forward: Callable[..., object]
    optimizer: Optimizer
    average: ExponentialAverage | None
    scaler: torch.amp.GradScaler
    runtime: Runtime
    clip: float | None
    seed: int
    unpadded: bool = True
    """Whether the loss leaves the padded border out."""
    accumulate: int = 1
    """Forward passes that a batch is computed in."""
    frozen: bool = False
    """Whether the encoder rests."""
    group: Group = ALONE


@dataclass
class Totals:
    """Sums over the samples of an epoch, kept on the device until they are shown.

    Each part has its own number of samples: a loss that ramps in or out has none before or after its ramp.
    """

    parts: dict[str, Tensor] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)

    def add(self, parts: dict[str, Tensor], samples: int) -> None:
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros((), device=value.device)) + value * samples
            self.samples[name] = self.samples.get(name, 0) + samples

    @property
    def finite(self) -> bool:
        """Whether no part of the loss has become NaN or infinite."""
        return all(bool(torch.isfinite(value)) for value in self.parts.values())

    def means(self, checked: bool = True) -> dict[str, float]:
        """Mean of each part of the loss. Raises NotFiniteError if one is NaN or infinite, unless not ``checked``."""
        means = {name: float(value) / self.samples[name] for name, value in self.parts.items()}
        if checked and not all(math.isfinite(value) for value in means.values()):
            raise NotFiniteError(", ".join(f"{name} is {value}" for name, value in means.items()))
        return means

    def state(self) -> dict[str, tuple[float, int]]:
        return {name: (float(value), self.samples[name]) for name, value in self.parts.items()}

    @classmethod
    def from_state(cls, state: dict[str, tuple[float, int]], device: torch.device) -> "Totals":
        parts = {name: torch.tensor(value, device=device) for name, (value, _) in state.items()}
        return cls(parts, {name: samples for name, (_, samples) in state.items()})


def train_epoch(
    learner: Learner,
    batches: Iterable[Sample],
    loss: Callable[[int], StageLoss],
    learning_rate: Callable[[int], float],
    position: Position,
    totals: Totals,
    stopping: Stopping,
    on_refresh: Callable[[dict[str, float]], None],
) -> bool:
    """Take the epoch's remaining steps; ``position`` and ``totals`` move with them.

    Args:
        batches: the epoch's batches from ``position.step`` on.
        loss: step within the epoch → the loss that it takes.
        learning_rate: step within the epoch → learning rate.
        on_refresh: called with the mean loss parts about twice a second.

    Returns:
        False if the epoch was left early because ``stopping`` was asked; state is whole either way.

    Raises:
        NotFiniteError: the loss, or a weight at the end, became NaN or infinite.
    """
    learner.network.train()
    if learner.frozen:
        frozen_mode(learner.network)
    started = refreshed = time.monotonic()
    seconds = position.seconds
    for batch in batches:
        samples = batch["image"].shape[0] * learner.group.size
        totals.add(_step(learner, batch, loss(position.step), learning_rate(position.step), position.steps), samples)
        position.step += 1
        position.steps += 1
        position.samples += samples
        now = time.monotonic()
        position.seconds = seconds + now - started
        if now - refreshed >= REFRESH_SECONDS:
            refreshed = now
            # All processes of a group must fail at the same step, so there the end of the epoch finds it.
            on_refresh(totals.means(checked=learner.group.size == 1))
        if learner.group.any(stopping.asked):
            return False
    totals.means()
    check_weights(learner.network)
    position.seconds = seconds + time.monotonic() - started
    return True


def check_weights(network: nn.Module) -> None:
    """Raises NotFiniteError if a weight is NaN or infinite."""
    if not all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters()):
        raise NotFiniteError("a weight is not a finite number")


def _step(learner: Learner, batch: Sample, loss: StageLoss, rate: float, step: int) -> dict[str, Tensor]:
    device = learner.runtime.device

    def forward(part: Sample, number: int) -> Outputs:
        # Dropout depends on the step and the part alone, so a resumed run draws what the uninterrupted one drew.
        place = learner.group.rank * learner.accumulate + number
        torch.manual_seed((learner.seed * 1_000_003 + step + place * 0x9E3779B97F4A7C15) % 2**63)
        image = part["image"].to(device, non_blocking=True, memory_format=torch.channels_last)
        with learner.runtime.autocast():
            output: Any = learner.forward(image)
        return output.logits, output.aux, output.image

    def targets(part: Sample) -> tuple[Tensor, Tensor | None]:
        valid = part["valid"].to(device, non_blocking=True) if learner.unpadded else None
        return part["mask"].to(device, non_blocking=True).float(), valid

    for group in learner.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
    total, parts = backward(
        batch, learner.accumulate, learner.group, learner.network, forward, targets, loss, learner.scaler.scale
    )
    fault("step")
    if learner.clip is not None:
        learner.scaler.unscale_(learner.optimizer)
        nn.utils.clip_grad_norm_(learner.network.parameters(), learner.clip)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.average is not None:
        learner.average.update()
    return {"loss": total, **parts}


def stage_rates(
    schedule: Schedule, lr: float, epoch: int, epochs: int, steps: int, scores: Sequence[float] = ()
) -> Callable[[int], float]:
    """Learning rate of a step of epoch ``epoch`` in a stage of ``epochs`` epochs of ``steps`` steps.

    Args:
        scores: the stage's validation scores so far.
    """
    return lambda step: lr * schedule(share_done(epoch, epochs, steps, step), scores)


def share_done(epoch: int, epochs: int, steps: int, step: int) -> float:
    """Share of a stage before a step: 0 at its first one, 1 at its last."""
    return (epoch * steps + step) / max(epochs * steps - 1, 1)
