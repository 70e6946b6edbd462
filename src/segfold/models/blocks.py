"""Parts of decoders: convolutions, squeeze-and-excitation, the U-Net's block and its centre."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attention = Literal["none", "cse", "sse", "scse"]
Combine = Literal["sum", "max", "mul"]

_COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"max": torch.maximum, "mul": torch.mul}


def upsample(x: Tensor, factor: int) -> Tensor:
    """Bilinear, corners not aligned, as everywhere here: mixing shifts masks by half a pixel."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def conv_bn_relu(inputs: int, outputs: int, bias: bool = False) -> nn.Sequential:
    """3×3 convolution that keeps the size, batch norm, ReLU. The norm undoes any bias; old nets have one."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


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
    """scSE: both gates on the same input, by default summed (arXiv 1803.02579; its authors' code: max)."""

    def __init__(self, channels: int, reduction: int = 2, combine: Combine = "sum", bias: bool = True) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, reduction)
        self.spatial = SpatialGate(channels, bias)
        self.combine = combine

    def forward(self, x: Tensor) -> Tensor:
        if self.combine == "sum":  # gates added before they are applied: fewer passes over the feature map
            return x * (self.channel.gates(x)[:, :, None, None] + self.spatial.gates(x))
        return _COMBINE[self.combine](self.channel(x), self.spatial(x))


def attention_block(kind: Attention, channels: int, reduction: int = 16, combine: Combine = "sum") -> nn.Module:
    """A gate as the TGS solutions use it: sSE without bias, all gates one half at the start.

    With gates of one half scSE's sum is the identity, so a pretrained encoder starts undisturbed.
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
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.conv1 = conv_bn_relu(inputs + skip, hidden, bias)
        self.conv2 = conv_bn_relu(hidden, outputs, bias)
        self.attention = attention

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """N×inputs×H×W and N×skip×2H×2W to N×outputs×2H×2W."""
        x = upsample(x, 2)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return self.attention(self.conv2(self.conv1(self.dropout(x))))


def plain_centre(inputs: int, hidden: int, outputs: int, bias: bool = False) -> nn.Sequential:
    """The centre of SeuTao's TGS networks: two conv-BN-ReLU and a max-pool, to half the size."""
    return nn.Sequential(conv_bn_relu(inputs, hidden, bias), conv_bn_relu(hidden, outputs, bias), nn.MaxPool2d(2))


def kaiming(module: nn.Module) -> None:
    """He initialisation of every convolution inside ``module`` (norms start at one and zero unasked)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
