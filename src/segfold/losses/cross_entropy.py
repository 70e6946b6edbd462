"""Cross-entropy between the classes of a pixel."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from segfold.losses.base import flatten, mean_sums, mean_value
from segfold.losses.classes import ClassWeights
from segfold.losses.joint import Joint, flatten_joint, ratio, row_sums
from segfold.losses.pixel import smoothed
from segfold.ranges import Share


class CrossEntropy(Joint):
    """Cross-entropy of the softmax over classes, or of a sigmoid each where classes do not exclude each other.

    Targets may be soft. With its defaults every image counts the same, however much of it is valid.

    Args:
        average: ``image``: mean over the valid pixels of each image, then over images; ``batch``: over the valid pixels of the
            whole batch, as torch's, so an image counts by what is valid of it; ``all``: sum over the valid pixels divided by
            the number of all pixels, as mmsegmentation's by default, so void dilutes the loss.
        class_weights: weights of classes by name, the others weigh 1. ``image`` and ``batch`` divide by the sum of the
            pixels' weights, as torch's does, ``all`` by the number of pixels. Where classes do not exclude each other, the
            mean over them is weighted.
        smoothing: label smoothing ε: a target y is taken as ``y (1 - ε) + ε/C`` of C classes, or ``y (1 - ε) + ε/2`` with a
            sigmoid each.
    """

    name = "ce"
    additive = True
    linear = True

    def __init__(
        self,
        *,
        average: Literal["image", "batch", "all"] = "image",
        class_weights: ClassWeights | None = None,
        smoothing: Share = 0.0,
    ) -> None:
        self.average = average
        self.class_weights = class_weights
        self.smoothing = smoothing

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """``batch``: losses of each row, then what they are divided by (2R); else loss and weight (2). See ``Loss.sums``."""
        if self.classes.exclusive:
            pixels = flatten_joint(logits, target, valid, weight)
            inside, w, amount = pixels.valid, pixels.weight, pixels.weights(self.weights)
            losses = pixels.cross_entropy(self.weights, self.smoothing)
        else:
            z, y, inside, w = flatten(logits, target, valid, weight)
            losses, amount = F.binary_cross_entropy_with_logits(z, smoothed(y, self.smoothing), reduction="none"), None
        total, counted = row_sums(losses, amount, inside)
        if self.average == "batch":
            return torch.cat([(total * w[:, None]).sum(dim=0), (counted * w[:, None]).sum(dim=0)])
        means = total / losses.shape[2] if self.average == "all" else ratio(total, counted)
        return mean_sums(self.mean_over_rows(means), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images, or over the pixels of all."""
        if self.average == "batch":
            return self.mean_over_rows(ratio(*sums.chunk(2)))
        return mean_value(sums)
