"""Averages of a network's weights over training."""

import copy

import torch
from torch import Tensor, nn


class ExponentialAverage:
    """Exponential moving average of parameters and buffers (Polyak averaging with a short memory).

    The decay grows as ``(1 + t) / (10 + t)`` up to ``decay``, so that the random start is forgotten. Integer
    buffers (counts of batches) are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        pairs = list(zip(_state(self.network), _state(network)))
        self._floats = [(ours, theirs) for ours, theirs in pairs if ours.is_floating_point()]
        self._others = [(ours, theirs) for ours, theirs in pairs if not ours.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move a step towards the trained network's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_([a for a, _ in self._floats], [b for _, b in self._floats], 1 - decay)
        for ours, theirs in self._others:
            ours.copy_(theirs)


def _state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
