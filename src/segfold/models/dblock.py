"""The dilated block of D-LinkNet: context from a wide field at an unchanged size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DBlock(nn.Module):
    """3×3 convolutions one after another with growing dilation, all their results added to the input.

    ``o₁ = ReLU(conv(x))``, ``o₂ = ReLU(conv(o₁))``, …; the result is ``x + o₁ + o₂ + …`` (Zhou et al., D-LinkNet,
    CVPR Workshops 2018). There is no norm; biases start at zero, so zero weights make it the identity.

    Args:
        channels: of the input and the result.
        dilations: of each convolution. 1, 2, 4 see 15×15 positions, enough for features of 8×8; D-LinkNet34
            takes 1, 2, 4, 8 (31×31) and the deeper ones 1, 2, 4, 8, 16 (63×63) for images of 1024×1024.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in dilations)
        for conv in self.convs:
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """N×channels×H×W to the same shape."""
        total = x
        for conv in self.convs:
            x = torch.relu(conv(x))
            total = total + x
        return total
