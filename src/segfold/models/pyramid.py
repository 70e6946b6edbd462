"""Context from coarser versions of a feature map: pyramid pooling and feature pyramid attention."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.models.blocks import conv_bn, kaiming, resize


class PyramidPooling(nn.Module):
    """The feature, and beside it its means over grids of several sizes (PSPNet, arXiv 1612.01105).

    Each grid of means goes through 1×1-BN-ReLU and is upsampled.

    Args:
        channels: of the feature map.
        bins: cells a side of each grid.

    Attributes:
        outputs: channels of the result, about twice ``channels``.
    """

    def __init__(self, channels: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = tuple(bins)
        part = max(1, channels // len(self.bins))
        self.parts = nn.ModuleList(conv_bn(channels, part, 1, nn.ReLU(inplace=True)) for _ in self.bins)
        self.outputs = channels + part * len(self.bins)

    def forward(self, x: Tensor) -> Tensor:
        """N×channels×H×W to N×outputs×H×W; the first channels are the feature itself."""
        means = (part(F.adaptive_avg_pool2d(x, size)) for part, size in zip(self.parts, self.bins))
        # A 1×1 map has no memory format that resizing could keep; one stray part would reorder the whole result.
        memory = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return torch.cat([x, *(resize(mean, x.shape[2:]).contiguous(memory_format=memory) for mean in means)], 1)


class FeaturePyramidAttention(nn.Module):
    """The feature times an attention map from two coarser sizes, plus its mean (arXiv 1805.10180).

    As the first place of TGS salt had it: without the 7×7 branch, ELU instead of ReLU.

    Args:
        inputs: channels of the feature map; the coarser ones have as many.
        outputs: channels of the result.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mean = nn.Conv2d(inputs, outputs, 1, bias=False)
        kaiming(self.mean)
        self.down1 = _conv(inputs, inputs, 5, 2)
        self.down2 = _conv(inputs, inputs, 3, 2)
        self.side1 = _conv(inputs, outputs, 5)
        self.side2 = _conv(inputs, outputs, 3)
        self.main = _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×outputs×H×W."""
        half = self.down1(x)
        quarter = self.side2(self.down2(half))
        half = self.side1(half)
        half = half + resize(quarter, half.shape[2:])
        return self.main(x) * resize(half, x.shape[2:]) + self.mean(x.mean((2, 3), keepdim=True))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return conv_bn(inputs, outputs, kernel, nn.ELU(inplace=True), stride)
