"""The hypercolumn as it is written: every level upsampled, all concatenated, one 1×1 convolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Concatenated(nn.Module):
    """Levels N×C×H/2^s×W/2^s, from fine to coarse, to N×classes×H×W.

    Args:
        weight: classes×ΣC×1×1.
        bias: classes.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        size = levels[0].shape[2:]
        same = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels[1:]]
        return F.conv2d(torch.cat([levels[0], *same], dim=1), self.weight, self.bias)
