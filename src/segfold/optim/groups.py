"""Parameter groups: learning rates of the encoder and of biases, weight decay, and the frozen encoder.

The encoder is what a network calls ``encoder``.
"""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from segfold.errors import SegfoldError

ParameterGroup = dict[str, Any]
"""What torch's optimisers call a parameter group: ``params`` and the settings that differ from the default."""


def parameter_groups(
    network: nn.Module,
    weight_decay: float,
    *,
    encoder_lr: float = 1.0,
    bias_lr: float = 1.0,
    decay_norms: bool = True,
) -> list[ParameterGroup]:
    """Every parameter of ``network`` once, with its ``lr_factor`` and ``weight_decay``.

    ``lr_factor`` multiplies the stage's learning rate. By default there is one group, in the network's order.

    Args:
        encoder_lr: ``lr_factor`` of the encoder, which has pretrained weights to keep.
        bias_lr: factor on the ``lr_factor`` of biases: of what is added beside a weight of two dimensions and more, so
            not the shifts of normalisations. Caffe's networks of old have 2.
        decay_norms: without it, scales and shifts of normalisations and biases (all that has at most one
            dimension) do not decay (Goyal et al., arXiv 1706.02677, 5.3; He et al., arXiv 1812.01187).

    Raises:
        SegfoldError: ``encoder_lr`` is given for a network without an encoder.
    """
    inside: set[int] = set()
    if encoder_lr != 1.0:
        inside = {id(parameter) for parameter in encoder_of(network, "optimizer encoder_lr").parameters()}
    biases = _biases(network)
    groups: dict[tuple[float, float], ParameterGroup] = {}
    for parameter in network.parameters():
        lr_factor = (encoder_lr if id(parameter) in inside else 1.0) * (bias_lr if id(parameter) in biases else 1.0)
        decay = weight_decay if decay_norms or parameter.ndim > 1 else 0.0
        group = groups.setdefault((lr_factor, decay), {"params": [], "lr_factor": lr_factor, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def _biases(network: nn.Module) -> set[int]:
    """Ids of the parameters that are biases, ``bias`` beside ``weight``, or ``in_proj_bias`` beside ``in_proj_weight``."""
    named = dict(network.named_parameters())
    beside = ((parameter, named.get(f"{name.removesuffix('bias')}weight")) for name, parameter in named.items())
    return {id(one) for one, weight in beside if one.ndim == 1 and weight is not None and weight.ndim > 1}


def set_frozen(network: nn.Module, frozen: bool) -> None:
    """Freeze the encoder's parameters, or let them all be trained.

    Frozen parameters stay in the optimiser, which skips what has no gradient; call ``frozen_mode`` after
    every ``network.train()``.

    Raises:
        SegfoldError: the network has no encoder.
    """
    for parameter in encoder_of(network, "freezing the encoder").parameters():
        parameter.requires_grad_(not frozen)
        if frozen:
            parameter.grad = None


def frozen_mode(network: nn.Module) -> None:
    """Put the batch normalisations of a frozen encoder in eval mode, so that its statistics stay too.

    Nothing happens where the encoder is not frozen.
    """
    encoder = getattr(network, "encoder", None)
    if encoder is None or any(parameter.requires_grad for parameter in encoder.parameters()):
        return
    for module in encoder.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def encoder_of(network: nn.Module, purpose: str) -> nn.Module:
    """The encoder of ``network``.

    Raises:
        SegfoldError: it has none; ``purpose`` is what the message begins with.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise SegfoldError(
            f"{purpose}: {type(network).__name__} has no encoder; remove the setting, or choose a model with an encoder"
        )
    return encoder
