"""The first layer of every model: raw pixels in, what the encoder was pretrained on out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def channel_statistics(values: Sequence[float], channels: int) -> list[float]:
    """Mean or deviation of each input channel, from those of the encoder's three colours.

    One channel takes their average, since timm sums a stem's colour filters for grey input; any other number
    repeats them in turn, as timm repeats the filters.
    """
    if channels == 1:
        return [sum(values) / len(values)]
    return [values[i % len(values)] for i in range(channels)]


class InputLayer(nn.Module):
    """Normalises raw pixels, so that images travel as uint8 and a weights file is enough to predict.

    Args:
        mean: of each channel, in 0..1.
        std: of each channel, in 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """N×C×H×W in 0..255, of any type, to float32 of about zero mean and unit variance."""
        return (pixels.float() - self.mean) / self.std
