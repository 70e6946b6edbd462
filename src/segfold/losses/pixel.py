"""Losses that judge each pixel by itself."""

import torch.nn.functional as F
from torch import Tensor

from segfold.losses.base import flatten, mean_sums, mean_value


class BCE:
    """Binary cross-entropy of logits: mean over the valid pixels of an image, then over images.

    Targets may be soft. Every image counts the same, however much of it is valid.
    """

    additive = True

    def __init__(self) -> None:
        pass

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``."""
        z, y, inside, w = flatten(logits, target, valid, weight)
        loss = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        if inside is None:
            return mean_sums(loss.mean(dim=(1, 2)), w)
        pixels = inside.sum(dim=2).clamp(min=1)
        return mean_sums(((loss * inside).sum(dim=2) / pixels).mean(dim=1), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)
