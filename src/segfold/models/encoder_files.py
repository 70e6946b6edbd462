"""Timm's feature pyramids, made and filled: with random weights, those that timm downloads, or those of a file."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models.checkpoints import (
    check_numbers,
    common_place,
    fits,
    is_weight,
    left_over,
    misfits,
    read_tensors,
    refused,
    take,
)
from segfold.models.encoder_layouts import LAYOUTS, Tensors
from segfold.paths import user_path


def create(name: str, in_channels: int, options: Mapping[str, Any], **weights: Any) -> Any:
    """A timm network as a feature pyramid."""
    return timm.create_model(
        name, features_only=True, in_chans=in_channels, **{"pretrained": False, **weights, **options}
    )


def with_weights(name: str, in_channels: int, weights: str, options: Mapping[str, Any]) -> tuple[nn.Module, list[str]]:
    """A feature pyramid that starts as ``weights`` says, and what there is to say of it.

    Args:
        weights: ``imagenet`` (downloaded by timm), ``none``, or a file.

    Raises:
        SegfoldError: weights that cannot be had, or that do not cover the encoder.
    """
    if weights == "none":
        return create(name, in_channels, options), []
    if weights == "imagenet":
        return _from_hub(name, in_channels, options), []
    return _from_file(name, in_channels, user_path(weights), options)


def _from_hub(name: str, in_channels: int, options: Mapping[str, Any]) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        others = sorted({full.partition(".")[0] for full in timm.list_pretrained(f"*{name.partition('.')[0]}*")})
        hint = f" (it has those of {', '.join(others)})" if others else ""
        raise SegfoldError(
            f"timm has no pretrained weights of {name}{hint}; set model.weights=none or model.weights=PATH"
        )
    return downloaded(name, lambda: create(name, in_channels, options, pretrained=True))


def downloaded(name: str, make: Callable[[], Any]) -> Any:
    """What ``make`` builds with timm's weights of ``name``; without weights it must be known to work.

    Raises:
        SegfoldError: the weights cannot be had: no hub, no way to it, no room for them.
    """
    try:
        return make()
    except Exception as error:
        raise SegfoldError(
            f"pretrained weights of {name} could not be downloaded ({type(error).__name__}); "
            "set model.weights=none, or model.weights=PATH to a .safetensors or .pth file that you have"
        ) from error


def _from_file(name: str, in_channels: int, path: Path, options: Mapping[str, Any]) -> tuple[nn.Module, list[str]]:
    read = read_tensors(path)
    net = create(name, in_channels, options)
    ours = net.state_dict()
    wanted = sum(map(is_weight, ours))
    # The reading of the file's names that fits best; of equal ones the plainest.
    theirs, left = max(
        (_placed(layout(read, ours), net, in_channels) for layout in LAYOUTS), key=lambda p: _matches(p[0], ours)
    )
    wrong = misfits(theirs, ours)
    if wrong:
        converted = _by_timm(name, in_channels, read, options)
        if converted is None:
            raise refused(path, name, read, wrong, wanted)
        check_numbers(dict(converted.named_parameters()), path)
        return converted, [f"all {wanted} tensors of encoder {name} from {path}, in a layout that timm converts"]
    take(ours, theirs, path)
    others = [name for name in left if is_weight(name)]
    return net, [f"{wanted} of {wanted} tensors of encoder {name} from {path}{left_over('beside it', others)}"]


def _matches(theirs: Tensors, ours: Tensors) -> int:
    return sum(fits(theirs.get(name), tensor) for name, tensor in ours.items())


def _placed(read: Tensors, net: nn.Module, in_channels: int) -> tuple[dict[str, Tensor], list[str]]:
    """Of a file's tensors those that stand where the pyramid has one, under its names, and the names of the others."""
    ours = net.state_dict()
    # Timm's pyramids hold the network as a child, or its stages as stages_0 in place of stages.0.
    plain = {name.removeprefix("model.").removeprefix("body."): name for name in ours}

    def known(name: str) -> str | None:
        return plain.get(name) or plain.get(name.replace(".", "_", 1))

    place = common_place(read, lambda name: known(name) is not None)
    inside = {name.removeprefix(place): tensor for name, tensor in read.items() if name.startswith(place)}
    found = {key: tensor for name, tensor in inside.items() if (key := known(name)) is not None}
    first = (getattr(net, "pretrained_cfg", None) or {}).get("first_conv") or ()
    for name in (first,) if isinstance(first, str) else first:
        key = known(f"{name}.weight")
        if key in found and key in ours and found[key].shape != ours[key].shape:
            # Of no stem for RGB it stays as it is, and is refused by its shape.
            with contextlib.suppress(NotImplementedError, AssertionError):
                found[key] = adapt_input_conv(in_channels, found[key])
    left = [name for name in inside if known(name) is None] + [name for name in read if not name.startswith(place)]
    return found, left


def _by_timm(name: str, in_channels: int, read: Tensors, options: Mapping[str, Any]) -> nn.Module | None:
    """The pyramid of a file that is in the layout of a network's authors, which timm converts; ``None`` if that does not cover it.

    Timm keeps quiet about tensors that are missing; those are the ones that stay numbers where all of the file's are NaN.
    """

    def filled(state: dict[str, Tensor]) -> nn.Module:
        net: nn.Module = create(
            name, in_channels, options, pretrained=True, pretrained_cfg_overlay={"state_dict": state}
        )
        for module in net.modules():  # timm would keep the file's tensors beside the network's
            config: Any = getattr(module, "pretrained_cfg", None)
            if isinstance(config, dict):
                config.pop("state_dict", None)
        return net

    # What timm warns of is what misfits, and that is said in our words.
    logger = logging.getLogger("timm")
    level = logger.level
    whole = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in read.items()}
    unknown = {key: torch.full_like(x, torch.nan) if x.is_floating_point() else x for key, x in whole.items()}
    try:
        logger.setLevel(logging.ERROR)
        traced = filled(unknown)
        statistics = (x for name, x in traced.named_buffers() if name.endswith(("running_mean", "running_var")))
        if not all(bool(x.isnan().any()) for x in (*traced.parameters(), *statistics)):
            return None
        return filled(whole)
    except Exception:  # timm's converters fail by whatever they miss first
        return None
    finally:
        logger.setLevel(level)
