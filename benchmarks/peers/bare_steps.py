"""Forward, backward, step, and nothing else, on batches that lie in memory: the limit of a training engine."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn


def steps(
    batches: Sequence[tuple[Tensor, Tensor, Tensor]],
    network: nn.Module,
    forward: Callable[[Tensor], Any],
    loss: Callable[[Any, Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    autocast: Callable[[], AbstractContextManager[object]],
    scaler: torch.amp.GradScaler,
    clip: float,
    average: Callable[[], None],
) -> None:
    """One step on each batch (image, target, valid), which lie on the device in the network's memory format.

    Args:
        network: whose parameters are trained and clipped.
        forward: the network, or its compiled twin.
        loss: output, target, valid → scalar.
        clip: largest norm of the gradient.
        average: moves the exponential average of the weights.
    """
    network.train()
    for image, target, valid in batches:
        with autocast():
            output = forward(image)
        scaler.scale(loss(output, target, valid)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        average()
