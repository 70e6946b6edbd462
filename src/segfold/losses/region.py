"""Losses of the overlap between the predicted and the true region."""

from typing import Literal

import torch
from torch import Tensor

from segfold.losses.base import flatten, mean_sums, mean_value


class Dice:
    """Soft Dice loss ``1 - (2 Σpy + s) / (Σp + Σy + s)``, p the sigmoid of the logits; mean over classes.

    With ``smooth=0`` the loss of an image with an empty mask is 1 whatever the prediction, so it teaches
    nothing; any ``smooth > 0`` rewards predicting little.

    Args:
        mode: ``image`` sums over the pixels of each image and takes the mean over images; ``batch`` sums over
            the whole batch, so large masks weigh more and empty ones less.
        smooth: ``s``, in pixels.

    Reference:
        Milletari et al., V-Net, 2016 (arXiv 1606.04797).
    """

    additive = True

    def __init__(self, *, mode: Literal["image", "batch"] = "image", smooth: float = 1.0) -> None:
        self.mode = mode
        self.smooth = smooth

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """``image``: loss and weight (2); ``batch``: Σpy of each class, then Σp+Σy of each (2C)."""
        z, y, inside, w = flatten(logits, target, valid, weight)
        p = z.sigmoid()
        if inside is not None:
            p, y = p * inside, y * inside
        overlap, total = (p * y).sum(dim=2), p.sum(dim=2) + y.sum(dim=2)
        if self.mode == "image":
            return mean_sums(self._loss(overlap, total).mean(dim=1), w)
        return torch.cat([(overlap * w[:, None]).sum(dim=0), (total * w[:, None]).sum(dim=0)])

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images (``image``) or the loss of the summed regions (``batch``)."""
        if self.mode == "image":
            return mean_value(sums)
        overlap, total = sums.chunk(2)
        return self._loss(overlap, total).mean()

    def _loss(self, overlap: Tensor, total: Tensor) -> Tensor:
        area = total + self.smooth
        # Nothing predicted, nothing there, nothing smoothed: 0/0 is full agreement. A NaN stays one.
        nothing = area == 0
        dice = (2 * overlap + self.smooth) / torch.where(nothing, 1.0, area)
        return torch.where(nothing, 0.0, 1 - dice)
