"""Any timm network that has a feature pyramid, as an encoder."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.layers import Format
from timm.models import FeatureListNet
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

import segfold.models.resnet_gcn  # noqa: F401  # timm then knows it by name
from segfold.errors import SegfoldError
from segfold.models.blocks import Attention, Combine, Stages, attention_block, chosen_stages
from segfold.models.encoder_files import create, with_weights
from segfold.models.input import InputLayer, channel_statistics

# The stem's max-pool in timm's ResNet (with SE, Res2Net, ResNeSt, SK …), legacy SENet, DenseNet and DPN.
_STEM_POOLS = ("maxpool", "pool0", "features_pool0", "features_conv1_pool")
# Transformers with relative positions accept other sizes than they were trained at, if asked.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({}, {"strict_img_size": False})


@dataclass(frozen=True)
class _Pyramid:
    """What an encoder gives, found by a forward pass without data (meta tensors)."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    size: int
    divisor: int
    only_size: int | None
    options: dict[str, Any]


class _Gated(nn.Module):
    """An encoder stage and the attention after it; what follows in the encoder sees the gated feature."""

    def __init__(self, stage: nn.Module, gate: nn.Module, channels_last: bool) -> None:
        super().__init__()
        self.stage = stage
        self.gate = gate
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(x)
        if self.channels_last:
            return self.gate(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.gate(x)


class Encoder(nn.Module):
    """Raw pixels to features from fine to coarse, one a scale.

    Of features of the same size (stem and first stage, without the max-pool) the deepest is kept.

    Args:
        name: a timm model, perhaps with its weights' tag (``resnet34.a1_in1k``).
        in_channels: of the image; timm adapts pretrained stems.
        weights: ``imagenet`` (downloaded by timm), ``none``, or a file in the layout of timm, torchvision, mmsegmentation, smp
            or of one of our own runs.
        stem_pool: ``False`` removes the stem's max-pool, so that all stages are twice as large.
        attention: gate after the chosen stages.
        reduction: of the channel gates.
        combine: of scSE.
        options: further arguments of timm's ``create_model`` (``drop_path_rate``, ``img_size``).
        attention_stages: numbers of the features that are gated, from 1, the finest.
        every_stage: of features of the same size keep all: those of dilated encoders (``output_stride`` in ``options``).

    Attributes:
        channels: of each feature.
        strides: of each feature, increasing powers of two; with ``every_stage`` neighbours may have the same.
        divisor: height and width of the input must be multiples of it.
        only_size: the one height and width that the network takes, if there is but one.
        loaded: lines that say what of a file was taken.

    Raises:
        SegfoldError: unknown encoder, encoder without a usable pyramid, weights that cannot be had,
            a stage that is not there.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        weights: str = "none",
        stem_pool: bool = True,
        attention: Attention = "none",
        reduction: int = 16,
        combine: Combine = "sum",
        options: Mapping[str, Any] | None = None,
        attention_stages: Stages = "all",
        every_stage: bool = False,
    ) -> None:
        super().__init__()
        _check_name(name)
        pyramid = _probe(name, in_channels, stem_pool, dict(options or {}), every_stage)
        self.net, self.loaded = with_weights(name, in_channels, weights, pyramid.options)
        if not stem_pool:
            _remove_stem_pool(self.net, name)
        config = timm.get_pretrained_cfg(name)
        mean, std = (config.mean, config.std) if config else ((0.5,) * 3, (0.5,) * 3)
        self.input = InputLayer(channel_statistics(mean, in_channels), channel_statistics(std, in_channels))
        last = {stride: i for i, stride in enumerate(pyramid.strides)}
        self._kept = tuple(range(len(pyramid.strides))) if every_stage else tuple(last.values())
        self._channels_last = _is_channels_last(self.net)
        self.channels = tuple(pyramid.channels[i] for i in self._kept)
        self.strides = tuple(pyramid.strides[i] for i in self._kept)
        self.divisor = pyramid.divisor
        self.only_size = pyramid.only_size
        chosen = chosen_stages(attention_stages, len(self._kept), "encoder_attention_stages", f"encoder {name}")
        if attention != "none":
            gated = [i for number, i in enumerate(self._kept, 1) if number in chosen]
            with torch.device("meta"):
                trial = create(name, in_channels, pyramid.options).eval()
                _insert_gates(trial, name, {i: nn.BatchNorm2d(pyramid.channels[i]).eval() for i in gated})
            if _shapes(trial, in_channels, pyramid.size) is None:
                raise _no_place(name)
            gates = {i: attention_block(attention, pyramid.channels[i], reduction, combine) for i in gated}
            _insert_gates(self.net, name, gates)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """N×in_channels×H×W in 0..255 to features N×channels[i]×H/strides[i]×W/strides[i]."""
        features = self.net(self.input(pixels))
        features = [features[i] for i in self._kept]
        return [x.permute(0, 3, 1, 2) for x in features] if self._channels_last else features


def _check_name(name: str) -> None:
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else "; `timm.list_models()` names them all"
        raise SegfoldError(f"unknown encoder {name!r}: timm has no model of that name{hint}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise SegfoldError(f"unknown weights {tag!r} of encoder {base}; timm has {', '.join(tags) or 'none'}")


def _is_channels_last(net: nn.Module) -> bool:
    return getattr(net, "output_fmt", None) == Format.NHWC


def _shapes(net: nn.Module, in_channels: int, size: int) -> list[tuple[int, int, int]] | None:
    """Channels, height and width of each feature; ``None`` where the network does not take this size."""
    try:
        with torch.no_grad():
            features = net(torch.empty(1, in_channels, size, size, device="meta"))
    except Exception:  # timm's networks refuse a size by whatever fails first
        return None
    if any(x.ndim != 4 for x in features):
        return None
    last = _is_channels_last(net)
    return [(x.shape[3], x.shape[1], x.shape[2]) if last else (x.shape[1], x.shape[2], x.shape[3]) for x in features]


def _probe(name: str, in_channels: int, stem_pool: bool, options: dict[str, Any], every_stage: bool) -> _Pyramid:
    """Finds strides, channels and the sizes that the encoder takes, at no cost in memory."""
    nets = []
    problem: Exception | None = None
    for extra in _ANY_SIZE:
        try:
            with torch.device("meta"):
                net = create(name, in_channels, {**extra, **options}).eval()
        except Exception as error:
            problem = problem or error
            continue
        if not stem_pool:
            _remove_stem_pool(net, name)
        nets.append((net, {**extra, **options}))
    if not nets:
        reason = _first_line(problem)
        hint = f" with encoder_options {options}" if options else ""
        raise SegfoldError(f"encoder {name}{hint} cannot be built as a feature pyramid ({reason}); choose another")
    # An odd multiple of the nominal stride shows that any multiple will do.
    deepest = max(nets[0][0].feature_info.reduction())
    for net, used in nets:
        shapes = _shapes(net, in_channels, 5 * deepest)
        if shapes:
            strides = _check_strides(name, shapes, 5 * deepest, every_stage)
            return _Pyramid(tuple(s[0] for s in shapes), strides, 5 * deepest, strides[-1], None, used)
    # Otherwise only its own size, or multiples of that.
    net, used = nets[0]
    config = timm.get_pretrained_cfg(name)
    native = options.get("img_size") or (config.input_size[-1] if config else 224)
    shapes = _shapes(net, in_channels, native)
    if shapes is None:
        raise SegfoldError(f"encoder {name} takes neither {5 * deepest}² nor {native}² images; choose another")
    strides = _check_strides(name, shapes, native, every_stage)
    only_size = None if _shapes(net, in_channels, 2 * native) else native
    return _Pyramid(tuple(s[0] for s in shapes), strides, native, math.lcm(native, strides[-1]), only_size, used)


def _check_strides(name: str, shapes: list[tuple[int, int, int]], size: int, every_stage: bool) -> tuple[int, ...]:
    strides = [size / height for _, height, _ in shapes]
    exact = all(
        height == width and s == int(s) and int(s).bit_count() == 1 for (_, height, width), s in zip(shapes, strides)
    )
    features = strides if every_stage else set(strides)
    if not (exact and strides == sorted(strides) and len(features) >= 3 and strides[0] <= 8):
        found = ", ".join(f"{s:.4g}" for s in strides)
        raise SegfoldError(
            f"encoder {name} gives features at strides {found}; needed are three or more, each an "
            "exact power of two, the finest at 8 or less; choose another, such as resnet34 or convnext_tiny"
        )
    return tuple(int(s) for s in strides)


def _remove_stem_pool(net: nn.Module, name: str) -> None:
    for child in _STEM_POOLS:
        pool = getattr(net, child, None)
        if isinstance(pool, nn.Module) and not isinstance(pool, nn.Identity) and not list(pool.parameters()):
            setattr(net, child, nn.Identity())
            return
    raise SegfoldError(
        f"encoder {name} has no max-pool in its stem that could be removed; set model.stem_pool=true "
        "or choose a ResNet, SE-ResNet(eXt), SENet, DenseNet or DPN"
    )


def _insert_gates(net: nn.Module, name: str, gates: Mapping[int, nn.Module]) -> None:
    """Puts ``gates[i]`` behind the module that gives feature ``i``."""
    if isinstance(net, FeatureListNet) and not net.concat:
        stages = list(net.return_layers)
    elif isinstance(net, EfficientNetFeatures | MobileNetV3Features):
        stages = [net.feature_info.module_name(i) for i in range(len(net.feature_info))]
    else:
        raise _no_place(name)
    for i, gate in gates.items():
        stage = net.get_submodule(stages[i])
        net.set_submodule(stages[i], _Gated(stage, gate, _is_channels_last(net)))


def _no_place(name: str) -> SegfoldError:
    return SegfoldError(
        f"encoder {name} has no single tensor after each stage to attend to; set model.encoder_attention=none"
    )


def _first_line(error: Exception | None) -> str:
    return str(error).strip().split("\n")[0].rstrip(":")
