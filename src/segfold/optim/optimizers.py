"""Optimisers by name, fused where torch has them.

Settings are keyword-only; the learning rate is the stage's, set at every step from its schedule.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    weight_decay: float = 1e-4,
    beta1: float = 0.9,
    beta2: float = 0.999,
) -> Optimizer:
    """Adam with decoupled weight decay (arXiv 1711.05101)."""
    return torch.optim.AdamW(parameters, lr=0.0, betas=(beta1, beta2), weight_decay=weight_decay, fused=True)


def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    nesterov: bool = False,
) -> Optimizer:
    """Stochastic gradient descent; the TGS winners' choice was momentum 0.9 and decay 1e-4 to 2e-4."""
    return torch.optim.SGD(
        parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True
    )


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adamw": adamw, "sgd": sgd}


def build_optimizer(name: str, parameters: Iterable[nn.Parameter], **settings: Any) -> Optimizer:
    """Optimiser ``name`` over ``parameters`` with its settings; its learning rate starts at 0."""
    return OPTIMIZERS[name](parameters, **settings)
