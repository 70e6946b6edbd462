"""Optimisers by name, fused where torch has them.

Settings are keyword-only; the learning rate is the stage's, set at every step from its schedule and multiplied
by the group's ``lr_factor``.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import nn
from torch.optim import Optimizer

from segfold.errors import SegfoldError
from segfold.optim.groups import ParameterGroup, parameter_groups
from segfold.schema import build

WeightDecay = Annotated[float, Ge(0), Le(100)]
Momentum = Annotated[float, Ge(0), Le(0.99999)]
"""The share of a running mean that a step keeps."""

_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")
# Some of timm's optimisers refuse 0; the rate is set before the first step.
_TINY_RATE = 1e-12


def adamw(
    groups: Sequence[ParameterGroup],
    *,
    weight_decay: WeightDecay = 1e-4,
    beta1: Momentum = 0.9,
    beta2: Momentum = 0.999,
) -> Optimizer:
    """Adam with decoupled weight decay (arXiv 1711.05101).

    Args:
        groups: parameters, each group with its weight decay and ``lr_factor``.
        weight_decay: share of each weight, times the learning rate, that a step takes away.
        beta1: share of the gradient's running mean that a step keeps.
        beta2: share of the squared gradient's running mean that a step keeps.
    """
    return torch.optim.AdamW(groups, lr=0.0, betas=(beta1, beta2), weight_decay=weight_decay, fused=_fusible(groups))


def sgd(
    groups: Sequence[ParameterGroup],
    *,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = 1e-4,
    nesterov: bool = False,
) -> Optimizer:
    """Stochastic gradient descent; the TGS winners' choice was momentum 0.9 and decay 1e-4 to 2e-4.

    Args:
        groups: parameters, each group with its weight decay and ``lr_factor``.
        momentum: share of the last step that the next one keeps.
        weight_decay: factor of each weight that is added to its gradient.
        nesterov: takes the gradient's step once more beyond the momentum's; needs a momentum.

    Raises:
        SegfoldError: Nesterov's form without a momentum.
    """
    if nesterov and momentum == 0:
        raise SegfoldError("optimizer sgd: nesterov needs a momentum above 0; set nesterov=false, or a momentum")
    optimizer = torch.optim.SGD(
        groups, lr=0.0, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=_fusible(groups)
    )
    if momentum > 0:
        _fill_momenta(optimizer)
        optimizer.register_load_state_dict_post_hook(_fill_momenta)
    return optimizer


def _fill_momenta(optimizer: Optimizer) -> None:
    """Momenta of 0 where there are none.

    Torch's fused kernel takes those of all parameters or of none, and a frozen encoder's would come later.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def rmsprop(
    groups: Sequence[ParameterGroup],
    *,
    alpha: Momentum = 0.9,
    momentum: Momentum = 0.0,
    weight_decay: WeightDecay = 0.0,
    eps: Annotated[float, Ge(1e-12), Le(1)] = 1e-7,
) -> Optimizer:
    """RMSprop; the defaults are Keras's, with which the first place of TGS trained at a rate of 1e-4.

    Args:
        groups: parameters, each group with its weight decay and ``lr_factor``.
        alpha: share of the squared gradient's running mean that a step keeps.
        momentum: share of the last step that the next one keeps.
        weight_decay: factor of each weight that is added to its gradient.
        eps: added to the root of the squared gradient's mean, which a step is divided by.
    """
    return torch.optim.RMSprop(groups, lr=0.0, alpha=alpha, momentum=momentum, weight_decay=weight_decay, eps=eps)


def timm(
    groups: Sequence[ParameterGroup],
    *,
    opt: str = "lamb",
    weight_decay: WeightDecay = 1e-4,
    options: Mapping[str, bool | int | float | str | tuple[float, ...]] = {},
) -> Optimizer:
    """Any optimiser of ``timm.optim``.

    Args:
        groups: parameters, each group with its weight decay and ``lr_factor``.
        opt: the optimiser's name in ``timm.optim.list_optimizers()``; ``lookahead_`` before it wraps it (arXiv 1907.08610).
        weight_decay: weight decay, as the optimiser understands it.
        options: further arguments of the optimiser's class. The rate ``lr`` is the stage's and not among them, except for the
            optimisers with corrected weight decay (arXiv 2506.02285), which must know the peak rate.

    Raises:
        SegfoldError: an unknown name or option, a package that is missing, or an optimiser that needs more
            than gradients.
    """
    from timm.optim import create_optimizer_v2, get_optimizer_class, get_optimizer_info, list_optimizers

    name = opt.lower().removeprefix("lookahead_")
    known = [str(entry) for entry in list_optimizers()]
    if name not in known:
        raise SegfoldError(f"timm.optim has no optimizer {opt!r}; {_near(name, known)}")
    info = get_optimizer_info(name)
    if info.second_order:
        raise SegfoldError(f"timm optimizer {opt} needs second derivatives, which are not computed here; name another")
    settings: dict[str, Any] = dict(options)
    corrected = bool({**(info.defaults or {}), **settings}.get("corrected_weight_decay"))
    rate = _construction_rate(opt, settings.pop("lr", None), corrected)
    try:
        builder = get_optimizer_class(name, bind_defaults=False)
        _check_options(opt, settings, builder)
        if builder in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD) and "foreach" not in settings:
            settings.setdefault("fused", _fusible(groups))
        if options and not name.startswith(("bnb", "fused")):  # those step on a GPU only
            # Some take any option and fail at their first step.
            with torch.random.fork_rng(devices=[]):
                one = nn.Parameter(torch.zeros(2, 2))
                one.grad = torch.ones(2, 2)
                create_optimizer_v2([one], opt, lr=rate, weight_decay=weight_decay, **settings).step()
        optimizer: Optimizer = create_optimizer_v2(list(groups), opt, lr=rate, weight_decay=weight_decay, **settings)
    except (ArithmeticError, AssertionError, ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SegfoldError(f"timm optimizer {opt} cannot be made: {reason}; change options or name another") from None
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        if corrected:
            group["max_lr_snapshot"] *= group["lr_factor"]
    return optimizer


def _construction_rate(opt: str, given: Any, corrected: bool) -> float:
    if corrected:
        if isinstance(given, bool) or not isinstance(given, int | float) or given <= 0:
            raise SegfoldError(f"timm optimizer {opt} must know the peak rate; set options.lr to the stage's lr")
        return float(given)
    if given is not None:
        raise SegfoldError(f"timm optimizer {opt}: options.lr is {given}, but the rate is the stage's lr; remove it")
    return _TINY_RATE


def _check_options(opt: str, settings: Mapping[str, Any], builder: Callable[..., Any]) -> None:
    # timm itself drops some options that an optimiser does not have without a word.
    known = [key for key in inspect.signature(builder).parameters if key not in ("params", "lr", "weight_decay")]
    for key in settings:
        if key not in known:
            raise SegfoldError(f"timm optimizer {opt} has no option {key!r}; {_near(key, known)}")


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adamw": adamw, "rmsprop": rmsprop, "sgd": sgd, "timm": timm}


def build_optimizer(
    name: str,
    network: nn.Module,
    *,
    encoder_lr: float = 1.0,
    bias_lr: float = 1.0,
    decay_norms: bool = True,
    **settings: Any,
) -> Optimizer:
    """Optimiser ``name`` over the parameters of ``network``; its learning rate starts at 0.

    Args:
        encoder_lr: factor on the learning rate of the encoder.
        bias_lr: factor on the learning rate of biases.
        decay_norms: whether normalisations and biases decay too.
        settings: the optimiser's own.

    Raises:
        SegfoldError: a setting that does not fit the optimiser or the network.
    """
    builder = OPTIMIZERS[name]
    weight_decay = settings.get("weight_decay", inspect.signature(builder).parameters["weight_decay"].default)
    groups = parameter_groups(network, weight_decay, encoder_lr=encoder_lr, bias_lr=bias_lr, decay_norms=decay_norms)
    return build(f"optimizer.{name}", builder, settings, groups)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Refuses settings that do not go together, before there is a network.

    What timm refuses may depend on the machine, which need not be the one that a run was trained on; it is left for
    ``build_optimizer`` to say.

    Raises:
        SegfoldError: as the optimiser says.
    """
    if name != "timm":
        build_optimizer(name, nn.Linear(1, 1), **settings)


def _fusible(groups: Sequence[ParameterGroup]) -> bool:
    """Whether torch's fused kernels take every parameter; elsewhere the plain ones do the same."""
    parameters = (parameter for group in groups for parameter in group["params"])
    return all(parameter.is_floating_point() and parameter.device.type in _FUSED_DEVICES for parameter in parameters)


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
