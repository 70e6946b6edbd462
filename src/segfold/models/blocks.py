"""Parts of decoders: convolutions, squeeze-and-excitation, the U-Net's block."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from segfold.errors import SegfoldError

Attention = Literal["none", "cse", "sse", "scse"]
Combine = Literal["sum", "max", "mul", "concat"]
StageNumber = Annotated[int, Ge(1), Le(16)]
Stages = Literal["all"] | tuple[StageNumber, ...]
"""Numbers of stages from 1, the finest."""

_COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"max": torch.maximum, "mul": torch.mul}


def upsample(x: Tensor, factor: int) -> Tensor:
    """Bilinear, corners not aligned, as everywhere here: mixing shifts masks by half a pixel."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear to any height and width, corners not aligned either."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)


def chosen_stages(stages: Stages, count: int, setting: str, owner: str) -> set[int]:
    """The chosen ones of ``count`` stages; ``setting`` and ``owner`` are for the message.

    Raises:
        SegfoldError: a number that is none of 1 to ``count``.
    """
    if isinstance(stages, str):
        return set(range(1, count + 1))
    for stage in stages:
        if not 1 <= stage <= count:
            raise SegfoldError(
                f"model.{setting} names stage {stage}, but {owner} has {count} here; "
                f"number them from 1, the finest, to {count}"
            )
    return set(stages)


def conv_bn_relu(inputs: int, outputs: int, bias: bool = False) -> nn.Sequential:
    """3×3 convolution that keeps the size, batch norm, ReLU. The norm undoes any bias; old nets have one."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    activation: nn.Module,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution of an odd kernel, batch norm and an activation, weights drawn by He; strides divide the size."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    kaiming(conv)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), activation)


class ChannelGate(nn.Module):
    """cSE: scales each channel by a gate computed from all channel means (Roy et al., arXiv 1803.02579).

    Args:
        channels: of the feature map.
        reduction: ratio of the hidden layer, 2 in the paper, 16 in most Kaggle code.
    """

    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def gates(self, x: Tensor) -> Tensor:
        """N×C, each in (0, 1)."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gates(x)[:, :, None, None]


class SpatialGate(nn.Module):
    """sSE: scales each position by a gate computed from its channels (arXiv 1803.02579)."""

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1, bias=bias)

    def gates(self, x: Tensor) -> Tensor:
        """N×1×H×W, each in (0, 1)."""
        return torch.sigmoid(self.conv(x))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gates(x)


class ChannelSpatialGate(nn.Module):
    """scSE: both gates on the same input, by default summed (arXiv 1803.02579; its authors' code: max).

    The four ways to combine are those of arXiv 1808.08127. There ``concat`` gives twice the channels; here a 1×1
    convolution brings them back to as many as before, so that what follows keeps its shape and its pretrained
    weights. It starts as the sum.
    """

    def __init__(self, channels: int, reduction: int = 2, combine: Combine = "sum", bias: bool = True) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, reduction)
        self.spatial = SpatialGate(channels, bias)
        self.combine = combine
        if combine == "concat":
            self.project = nn.Conv2d(2 * channels, channels, 1, bias=False)
            with torch.no_grad():
                self.project.weight.copy_(torch.eye(channels).repeat(1, 2)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        if self.combine == "concat":
            return self.project(torch.cat([self.channel(x), self.spatial(x)], dim=1))
        if self.combine == "sum":  # gates added before they are applied: fewer passes over the feature map
            return x * (self.channel.gates(x)[:, :, None, None] + self.spatial.gates(x))
        return _COMBINE[self.combine](self.channel(x), self.spatial(x))


def attention_block(kind: Attention, channels: int, reduction: int = 16, combine: Combine = "sum") -> nn.Module:
    """A gate as the TGS solutions use it: sSE without bias, all gates one half at the start.

    With gates of one half scSE's sum (and its concatenation, see there) is the identity, so a pretrained encoder starts undisturbed.
    """
    gate: nn.Module
    if kind == "none":
        return nn.Identity()
    if kind == "cse":
        gate = ChannelGate(channels, reduction)
    elif kind == "sse":
        gate = SpatialGate(channels, bias=False)
    else:
        gate = ChannelSpatialGate(channels, reduction, combine, bias=False)
    for module in gate.modules():
        if isinstance(module, ChannelGate):
            nn.init.kaiming_normal_(module.squeeze.weight, nonlinearity="relu")
            nn.init.zeros_(module.squeeze.bias)
            nn.init.zeros_(module.excite.weight)
            nn.init.zeros_(module.excite.bias)
        elif isinstance(module, SpatialGate):
            nn.init.zeros_(module.conv.weight)
    return gate


class DecoderBlock(nn.Module):
    """Bilinear ×2, concatenation with the skip, dropout, two conv-BN-ReLU, attention.

    Args:
        inputs: channels from below.
        skip: channels of the encoder's feature at the new size, 0 for none.
        hidden: channels between the two convolutions.
        outputs: channels of the result.
        attention: the gate at the end.
        dropout: share of channels dropped in training.
        bias: whether the convolutions have one.
        context: what stands between the two convolutions, if anything.
    """

    def __init__(
        self,
        inputs: int,
        skip: int,
        hidden: int,
        outputs: int,
        attention: nn.Module,
        dropout: float,
        bias: bool,
        context: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.conv1 = conv_bn_relu(inputs + skip, hidden, bias)
        self.context = context or nn.Identity()
        self.conv2 = conv_bn_relu(hidden, outputs, bias)
        self.attention = attention

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """N×inputs×H×W and N×skip×2H×2W to N×outputs×2H×2W."""
        x = upsample(x, 2)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return self.attention(self.conv2(self.context(self.conv1(self.dropout(x)))))


def kaiming(module: nn.Module) -> None:
    """He initialisation of every convolution inside ``module`` (norms start at one and zero unasked)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
