"""Losses that judge each pixel by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segfold.losses.base import Price, flatten, mean_over_pixels, mean_sums, mean_value
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


class Focal:
    """Focal loss ``-α_t (1 - p_t)^γ log p_t``: cross-entropy in which a pixel counts less the surer it is right.

    Here ``p_t`` is the probability given to the true class. A soft target y mixes the two: y times the loss of an
    object pixel plus 1 - y times that of a background pixel, as in cross-entropy. Mean over the valid pixels
    of an image, then over images; not divided by the number of object pixels, as for detection, which would make
    images with little object loud.

    Args:
        gamma: exponent γ; the larger, the less sure pixels count, 0 is cross-entropy.
        alpha: weight of object pixels, those of the background weigh 1 - α; null: 1 each.
        smoothing: label smoothing ε: a target y is taken as ``y (1 - ε) + ε/2``.

    Reference:
        Lin et al., Focal loss for dense object detection, 2017 (arXiv 1708.02002), there γ = 2 and α = 0.25.
    """

    additive = True
    linear = True

    def __init__(self, *, gamma: Price = 2.0, alpha: Share | None = None, smoothing: Share = 0.0) -> None:
        self.gamma = gamma
        self.alpha = alpha
        self.smoothing = smoothing

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``."""
        z, y, inside, w = flatten(logits, target, valid, weight)
        y = smoothed(y, self.smoothing)
        rest = 1 - y
        if self.alpha is not None:
            y, rest = self.alpha * y, (1 - self.alpha) * rest
        # Powers as exponentials of logarithms: a power of a probability that underflowed to 0 has no gradient.
        log_p, log_q = F.logsigmoid(z), F.logsigmoid(-z)
        loss = -y * torch.exp(self.gamma * log_q) * log_p - rest * torch.exp(self.gamma * log_p) * log_q
        return mean_sums(mean_over_pixels(loss, inside), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)


def smoothed(target: Tensor, smoothing: float) -> Tensor:
    """Targets moved towards one half."""
    return target if smoothing == 0 else target * (1 - smoothing) + smoothing / 2
