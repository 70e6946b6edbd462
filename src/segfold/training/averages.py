"""Averages of a network's weights over training, and the batch-norm statistics that such weights need."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segfold.errors import SegfoldError

State = Mapping[str, Tensor]
Batch = TypeVar("Batch")


class ExponentialAverage:
    """Exponential moving average of parameters and buffers (Polyak averaging with a short memory).

    The decay grows as ``(1 + t) / (10 + t)`` up to ``decay``, so that the random start is forgotten. Integer
    buffers (counts of batches) are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        pairs = list(zip(_tensors(self.network), _tensors(network)))
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


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


class _Mean:
    """Equal-weight mean of states, one after the other.

    Sums are float64: a sum of thousands of float32 states then loses nothing that the rounding of their mean to
    float32 would keep, and it has the same bits whether or not it was saved and loaded in between. They lie in
    main memory, because they are touched once an epoch and a GPU has better use for its own.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Tensor] = {}
        self.last: dict[str, Tensor] = {}
        """What is not summed: integer buffers of the last state."""

    @torch.no_grad()
    def add(self, state: State) -> None:
        for name, tensor in state.items():
            value = tensor.detach().cpu()
            if not value.is_floating_point():
                self.last[name] = value.clone()
            elif name in self.sums:
                self.sums[name] += value
            else:
                self.sums[name] = value.to(torch.float64, copy=True)
        self.count += 1

    def value(self) -> dict[str, Tensor]:
        """Float64 means, and the last integers."""
        return {**{name: total / self.count for name, total in self.sums.items()}, **self.last}


class RunningAverage:
    """Equal-weight mean of captured weights: stochastic weight averaging (Izmailov et al., arXiv 1803.05407).

    ``network`` holds the mean; before the first capture, the weights that training began with. Its batch-norm
    statistics are means of statistics, not those of the mean weights: see ``reestimate``.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._source = network
        self._mean = _Mean()

    @property
    def count(self) -> int:
        """How many states the mean is of."""
        return self._mean.count

    def update(self) -> None:
        """Capture the trained network's present weights."""
        self._mean.add(self._source.state_dict())
        self.network.load_state_dict(self._mean.value())

    def state_dict(self) -> dict[str, Any]:
        """From which ``load_state_dict`` goes on with the same bits; tensors are shared, not copied."""
        return {"count": self._mean.count, "sums": dict(self._mean.sums), "last": dict(self._mean.last)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same architecture."""
        self._mean.count = int(state["count"])
        self._mean.sums = {name: total.cpu().clone() for name, total in state["sums"].items()}
        self._mean.last = {name: value.cpu().clone() for name, value in state["last"].items()}
        if self.count:
            self.network.load_state_dict(self._mean.value())


def mean_of_states(states: Iterable[Path | State]) -> dict[str, Tensor]:
    """Equal-weight mean of several weights; floats keep their type, integers are the last one's.

    Args:
        states: safetensors files or state dicts, at least one. Each is dropped before the next is read.

    Raises:
        SegfoldError: the weights are not of one architecture.
    """
    mean, shapes, dtypes, first = _Mean(), None, {}, ""
    for item in states:
        state = safetensors.torch.load_file(item) if isinstance(item, Path) else item
        name = str(item) if isinstance(item, Path) else f"state {mean.count + 1}"
        found = {key: tuple(tensor.shape) for key, tensor in state.items()}
        if shapes is None:
            shapes, first = found, name
            dtypes = {key: tensor.dtype for key, tensor in state.items()}
        elif found != shapes:
            differing = sorted(key for key in {*found, *shapes} if found.get(key) != shapes.get(key))
            raise SegfoldError(
                f"{name} and {first} are not weights of one network: {differing[0]} is {found.get(differing[0], 'missing')} "
                f"and {shapes.get(differing[0], 'missing')}; average weights of one run only"
            )
        mean.add(state)
        del state, item
    if shapes is None:
        raise ValueError("no weights to take the mean of")
    return {key: value.to(dtypes[key]) for key, value in mean.value().items()}


def best_epochs(scores: Sequence[tuple[int, float]], n: int) -> list[int]:
    """The ``n`` epochs with the highest scores, best first; of equal scores the earlier epoch is the better.

    Args:
        scores: epoch and its validation score, higher is better; a NaN is never among the best.
    """
    known = [(epoch, score) for epoch, score in scores if not math.isnan(score)]
    return [epoch for epoch, _ in sorted(known, key=lambda pair: (-pair[1], pair[0]))[:n]]


@torch.no_grad()
def reestimate(network: nn.Module, batches: Iterable[Batch], forward: Callable[[nn.Module, Batch], object]) -> None:
    """Estimate the batch-norm statistics of ``network`` anew: the plain mean over ``batches``.

    The same as ``torch.optim.swa_utils.update_bn`` (Izmailov et al., arXiv 1803.05407, 3.2). The network runs as
    in training, so dropout draws random numbers: seed them first. Momentum and the mode of every module are as
    before afterwards, also after an exception; then the statistics are unfinished. Without batch norm, no batch
    is taken.

    Args:
        batches: training batches, every one of which counts alike.
        forward: runs the network on a batch; the network itself, not a compiled twin of it.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.train()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        for batch in batches:
            forward(network, batch)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
