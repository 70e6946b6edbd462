"""Losses that judge each pixel by itself."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from segfold.errors import SegfoldError
from segfold.losses.base import Price, flatten, mean_over_pixels, mean_sums, mean_value
from segfold.losses.classes import Classes, ClassWeights, log_odds, one_hot
from segfold.losses.joint import Joint, JointPixels, flatten_joint, ratio, row_sums
from segfold.ranges import Share


class BCE:
    """Binary cross-entropy of logits: mean over the valid pixels of an image, then over images.

    Targets may be soft. Every image counts the same, however much of it is valid.

    Args:
        smoothing: label smoothing ε: a target y is taken as ``y (1 - ε) + ε/2``. (Where a library
            takes 1 as 1 - s and 0 as s, its s is ε/2.)

    Reference:
        Szegedy et al., Rethinking the Inception architecture, 2016, section 7 (arXiv 1512.00567).
    """

    additive = True
    linear = True

    def __init__(self, *, smoothing: Share = 0.0) -> None:
        self.smoothing = smoothing

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``."""
        z, y, inside, w = flatten(logits, target, valid, weight)
        loss = F.binary_cross_entropy_with_logits(z, smoothed(y, self.smoothing), reduction="none")
        return mean_sums(mean_over_pixels(loss, inside), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)


class Focal(Joint):
    """Focal loss ``-α_t (1 - p_t)^γ log p_t``: cross-entropy in which a pixel counts less the surer it is right.

    Here ``p_t`` is the probability given to the true class: the softmax's of classes that exclude each other, otherwise a
    sigmoid's, class by class. A soft target y mixes the two: y times the loss of an object pixel plus 1 - y times that of a
    background pixel, as in cross-entropy. Mean over the valid pixels of an image, then over images; not divided by the
    number of object pixels, as for detection, which would make images with little object loud.

    Args:
        gamma: exponent γ; the larger, the less sure pixels count, 0 is cross-entropy.
        alpha: weight of object pixels, those of the background weigh 1 - α; null: 1 each. Not for classes that exclude each
            other, whose weights are ``class_weights``.
        class_weights: as of ``ce``.
        smoothing: label smoothing ε: a target y is taken as ``y (1 - ε) + ε/2``, of C classes that exclude each other as
            ``y (1 - ε) + ε/C``.

    Reference:
        Lin et al., Focal loss for dense object detection, 2017 (arXiv 1708.02002), there γ = 2 and α = 0.25.
    """

    name = "focal"
    additive = True
    linear = True

    def __init__(
        self,
        *,
        gamma: Price = 2.0,
        alpha: Share | None = None,
        class_weights: ClassWeights | None = None,
        smoothing: Share = 0.0,
    ) -> None:
        self.gamma = gamma
        self.alpha = alpha
        self.class_weights = class_weights
        self.smoothing = smoothing

    def among(self, classes: Classes) -> Self:
        """See ``Joint.among``."""
        if classes.exclusive and self.alpha is not None:
            raise SegfoldError(
                f"loss.mask.focal.alpha is {self.alpha:g}, the weight of an object against the background, but the classes exclude "
                "each other: use loss.mask.focal.class_weights"
            )
        return super().among(classes)

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``."""
        if self.classes.exclusive:
            pixels = flatten_joint(logits, target, valid, weight)
            total, counted = row_sums(self._of_pixels(pixels), pixels.weights(self.weights), pixels.valid)
            return mean_sums(ratio(total, counted).squeeze(1), pixels.weight)
        z, y, inside, w = flatten(logits, target, valid, weight)
        y = smoothed(y, self.smoothing)
        rest = 1 - y
        if self.alpha is not None:
            y, rest = self.alpha * y, (1 - self.alpha) * rest
        # Powers as exponentials of logarithms: a power of a probability that underflowed to 0 has no gradient.
        log_p, log_q = F.logsigmoid(z), F.logsigmoid(-z)
        loss = -y * torch.exp(self.gamma * log_q) * log_p - rest * torch.exp(self.gamma * log_p) * log_q
        if self.weights is None:
            return mean_sums(mean_over_pixels(loss, inside), w)
        return mean_sums(self.mean_over_rows(ratio(*row_sums(loss, None, inside))), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)

    def _of_pixels(self, pixels: JointPixels) -> Tensor:
        """N×1×P of exclusive classes, weighted by class."""
        z, label, shares = pixels.logits, pixels.label, pixels.shares
        if shares is None and self.smoothing == 0:
            # Only the logits of the true class against the rest are needed.
            rest = z.scatter(1, label, -torch.inf).logsumexp(dim=1, keepdim=True)
            loss = self._of_odds(z.gather(1, label) - rest)
            weights = pixels.weights(self.weights)
            return loss if weights is None else loss * weights
        y = one_hot(label, z.shape[1]) if shares is None else shares
        y = y * (1 - self.smoothing) + self.smoothing / z.shape[1]
        if self.weights is not None:
            y = y * self.weights.to(y.device)[:, None]
        return (y * self._of_odds(log_odds(z))).sum(dim=1, keepdim=True)

    def _of_odds(self, odds: Tensor) -> Tensor:
        # The power as an exponential of a logarithm, as above.
        return -torch.exp(self.gamma * F.logsigmoid(-odds)) * F.logsigmoid(odds)


def smoothed(target: Tensor, smoothing: float) -> Tensor:
    """Targets moved towards one half."""
    return target if smoothing == 0 else target * (1 - smoothing) + smoothing / 2
