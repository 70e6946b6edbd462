"""Losses of the overlap between the predicted and the true region.

With p the sigmoid of the logits and y the target, the pixels count as right (Σ min(p, y)), false positives
(Σ max(p - y, 0)) and false negatives (Σ max(y - p, 0)), all in shares of a pixel. Where the target is 0 or 1 that is
the usual Σpy, Σp(1 - y) and Σ(1 - p)y. Where it is soft the usual products would ask for p = 1 wherever y > 0 ever so
little, while these losses are 0 at p = y and nowhere else (Wang et al., Jaccard metric losses, 2023,
arXiv 2302.05666, and Dice semimetric losses, 2023, arXiv 2303.16296).
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from segfold.losses.base import Price, Smooth, flatten, mean_sums, mean_value

Mode = Literal["image", "batch"]

# A power below 1 rises infinitely fast at 0; a share of wrong pixels below this is none.
_NOTHING_WRONG = 1e-30


class Tversky:
    """Focal Tversky loss ``(1 - T)^γ``, T = (TP + s) / (TP + α FP + β FN + s); mean over classes.

    Dice is α = β = ½ (with half its ``smooth``), Jaccard α = β = 1.

    Args:
        mode: ``image`` sums over the pixels of each image and takes the mean over images; ``batch`` sums over
            the whole batch, so large masks weigh more and empty ones less.
        alpha: price of a false positive.
        beta: price of a false negative; above ``alpha`` it asks for recall.
        gamma: exponent, applied to each class: above 1 teaches most where overlap is poor, below 1 where it is nearly
            right (the paper writes 1/γ for it, and recommends 0.75).
        smooth: added to both sides of the fraction, in pixels. With 0 an image with an empty mask has loss 1 unless nothing at all is
            predicted, so it teaches nothing; anything above 0 rewards predicting little.

    Reference:
        Salehi et al., Tversky loss, 2017 (arXiv 1706.05721); Abraham and Khan, A novel focal Tversky loss, 2018
        (arXiv 1810.07842), where α is the price of false negatives.
    """

    additive = True

    def __init__(
        self,
        *,
        mode: Mode = "image",
        alpha: Price = 0.5,
        beta: Price = 0.5,
        gamma: Annotated[float, Ge(0.01), Le(100)] = 1.0,
        smooth: Smooth = 1.0,
    ) -> None:
        self.mode = mode
        self.linear = mode == "image"
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smooth = smooth

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """``image``: loss and weight (2); ``batch``: what is right of each class, then what is wrong (2C)."""
        z, y, inside, w = flatten(logits, target, valid, weight)
        p = z.sigmoid()
        if inside is not None:
            p, y = p * inside, y * inside
        both = torch.minimum(p, y)
        right = both.sum(dim=2)
        wrong = self.alpha * (p - both).sum(dim=2) + self.beta * (y - both).sum(dim=2)
        if self.mode == "image":
            return mean_sums(self._loss(right, wrong).mean(dim=1), w)
        return torch.cat([(right * w[:, None]).sum(dim=0), (wrong * w[:, None]).sum(dim=0)])

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images (``image``) or the loss of the summed regions (``batch``)."""
        if self.mode == "image":
            return mean_value(sums)
        right, wrong = sums.chunk(2)
        return self._loss(right, wrong).mean()

    def _loss(self, right: Tensor, wrong: Tensor) -> Tensor:
        # 1 - T without the subtraction, which would leave rounding errors below 0 for the exponent.
        area = right + wrong + self.smooth
        # Nothing predicted, nothing there, nothing smoothed: 0/0 is full agreement.
        loss = wrong / torch.where(area == 0, 1.0, area)
        if self.gamma == 1:
            return loss
        agreed = loss <= _NOTHING_WRONG  # not so for a NaN, which stays one
        return torch.where(agreed, 0.0, torch.where(agreed, 1.0, loss) ** self.gamma)


class Dice(Tversky):
    """Soft Dice loss ``1 - (2 TP + s) / (2 TP + FP + FN + s)``; mean over classes.

    With ``smooth=0`` the loss of an image with an empty mask is 1 whatever the prediction, so it teaches
    nothing; any ``smooth > 0`` rewards predicting little.

    Args:
        mode: ``image``: mean over images; ``batch``: one region of the whole batch, see ``tversky``.
        smooth: added to both sides of the fraction, in pixels.

    Reference:
        Milletari et al., V-Net, 2016 (arXiv 1606.04797).
    """

    def __init__(self, *, mode: Mode = "image", smooth: Smooth = 1.0) -> None:
        super().__init__(mode=mode, alpha=0.5, beta=0.5, smooth=smooth / 2)


class InverseDice(Dice):
    """``dice`` of what is not there: of 1 - p and 1 - y, so what counts as right are pixels of the background.

    It teaches where the mask is empty, of which ``dice`` with ``smooth=0`` learns nothing, and most where the object
    leaves little background; where the object is small it says little.

    Args:
        mode: ``image``: mean over images; ``batch``: one region of the whole batch, see ``tversky``.
        smooth: added to both sides of the fraction, in pixels; matters where the object fills the image.

    Reference:
        SConsul, Global_Convolutional_Network: 0.25 of Dice, 0.5 of this and 0.25 of cross-entropy for lungs in X-rays.
    """

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Those of ``dice`` for the turned logits and the turned target."""
        return super().sums(-logits, 1 - target.float(), valid, weight)


class Jaccard(Tversky):
    """Soft Jaccard loss ``1 - (TP + s) / (TP + FP + FN + s)``; mean over classes.

    Args:
        mode: ``image``: mean over images; ``batch``: one region of the whole batch, see ``tversky``.
        smooth: added to both sides of the fraction, in pixels; for 0 see ``dice``.

    Reference:
        Rahman and Wang, Optimizing intersection-over-union in deep neural networks, 2016.
    """

    def __init__(self, *, mode: Mode = "image", smooth: Smooth = 1.0) -> None:
        super().__init__(mode=mode, alpha=1.0, beta=1.0, smooth=smooth)
