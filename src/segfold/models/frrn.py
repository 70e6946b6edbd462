"""FRRN: a stream of features at full resolution beside one that is pooled and unpooled."""

from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from segfold.models.blocks import upsample
from segfold.models.headed import NO_HEADS, DeepestHeads, Headed
from segfold.models.heads import Features, Offer, last_layer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels, plain_input
from segfold.models.ranges import HeadChannels

# Units at each scale on the way down, from 1/2, and on the way up: (how many, channels in units of the base's 48).
_DOWN = {"A": ((3, 2), (4, 4), (2, 8), (2, 8)), "B": ((3, 2), (4, 4), (2, 8), (2, 8), (2, 8))}
_UP = {"A": ((2, 4), (2, 4), (2, 2)), "B": ((2, 4), (2, 4), (2, 4), (2, 2))}


class ResidualUnit(nn.Module):
    """Two 3×3 convolutions with norms, a ReLU between, added to the (if need be projected) input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv_bn_relu(inputs, outputs, 3)
        self.second = nn.Sequential(_conv(outputs, outputs, 3, "linear"), nn.BatchNorm2d(outputs))
        self.project = nn.Identity() if inputs == outputs else _conv(inputs, outputs, 1, "linear")

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x) + self.second(self.first(x))


class FullResolutionUnit(nn.Module):
    """FRRU: the pooled stream sees the residual stream, pooled, and adds to it, unpooled.

    Args:
        inputs: channels of the pooled stream.
        outputs: channels of the pooled stream behind the unit.
        residual: channels of the residual stream.
        stride: how many times smaller the pooled stream is.
    """

    def __init__(self, inputs: int, outputs: int, residual: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = _conv_bn_relu(inputs + residual, outputs, 3)
        self.second = _conv_bn_relu(outputs, outputs, 3)
        self.back = _conv(outputs, residual, 1, "linear", bias=True)

    def forward(self, pooled: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Streams N×inputs×h×w and N×residual×(stride·h)×(stride·w) to the same two behind the unit."""
        pooled = self.second(self.first(torch.cat([pooled, F.max_pool2d(residual, self.stride)], dim=1)))
        return pooled, residual + F.interpolate(self.back(pooled), scale_factor=float(self.stride), mode="nearest")


class Scale(nn.Module):
    """Units of one scale in turn; arguments and streams as in ``FullResolutionUnit``."""

    def __init__(self, count: int, inputs: int, outputs: int, residual: int, stride: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * count]
        self.units = nn.ModuleList(
            FullResolutionUnit(before, after, residual, stride) for before, after in pairwise(widths)
        )

    def forward(self, pooled: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        for unit in self.units:
            pooled, residual = unit(pooled, residual)
        return pooled, residual


class FRRN(Headed):
    """Full-resolution residual network (Pohlen et al., arXiv 1611.08323), trained there with bootstrapped losses.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        variant: ``A`` goes down to 1/16, ``B`` to 1/32.
        channels: channels at full resolution; the pooled stream has up to eight times as many.
        residual_channels: channels of the residual stream.
        heads: further heads, on the pooled stream where it is smallest.
        head_channels: channels within the heads.

    Attributes:
        stride: height and width of the input must be multiples of it.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        variant: Literal["A", "B"] = "A",
        channels: Annotated[int, Ge(1), Le(1024)] = 48,
        residual_channels: Annotated[int, Ge(1), Le(1024)] = 32,
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = 2 ** len(_DOWN[variant])
        self.input = plain_input(in_channels)
        self.first = nn.Sequential(
            _conv_bn_relu(in_channels, channels, 5), *(ResidualUnit(channels, channels) for _ in range(3))
        )
        self.split = nn.Sequential(_conv(channels, residual_channels, 1, "linear"), nn.BatchNorm2d(residual_channels))
        width, stride = channels, 1
        self.down = nn.ModuleList()
        for count, factor in _DOWN[variant]:
            stride *= 2
            self.down.append(Scale(count, width, factor * channels, residual_channels, stride))
            width = factor * channels
        self.add_heads(DeepestHeads.model_validate(heads), Offer(width, classes, head_channels))
        self.up = nn.ModuleList()
        for count, factor in _UP[variant]:
            stride //= 2
            self.up.append(Scale(count, width, factor * channels, residual_channels, stride))
            width = factor * channels
        self.merged = nn.Sequential(
            ResidualUnit(width + residual_channels, channels), *(ResidualUnit(channels, channels) for _ in range(2))
        )
        self.last = last_layer(channels, classes)

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is not a multiple of ``stride``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, self.stride)
        pooled = self.first(self.input(pixels))
        residual = self.split(pooled)
        for scale in self.down:
            pooled, residual = scale(F.max_pool2d(pooled, 2), residual)
        heads = self.head_logits(Features(pooled))
        for scale in self.up:
            pooled, residual = scale(upsample(pooled, 2), residual)
        merged = self.merged(torch.cat([upsample(pooled, 2), residual], dim=1))
        return Output(self.last(merged), heads)


def _conv(inputs: int, outputs: int, kernel: int, follower: Literal["relu", "linear"], bias: bool = False) -> nn.Conv2d:
    """Convolution that keeps the size, drawn by He's uniform rule for what follows it."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity=follower)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _conv_bn_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, kernel, "relu"), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
