"""Batch-norm statistics of weights that no training step has seen, such as an average."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Batch = TypeVar("Batch")


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
