"""The Lovász-softmax: the Jaccard loss's surrogate on class probabilities."""

from typing import Literal

import torch
from torch import Tensor

from segfold.losses.base import flatten, mean_sums, mean_value
from segfold.losses.lovasz import jaccard_steps


class LovaszSoftmax:
    """Lovász extension of the Jaccard loss of each class, on the softmax over classes.

    The error of a pixel for a class is how far the class's probability is from what it should be, |1[y = c] - p_c|;
    the rest is as for the hinge. A single logit stands for two classes, background and object, whose logits differ by
    it. Targets, one map a class, are taken as ``> 0.5``; of several classes each pixel belongs to exactly one, so a
    background is a class too. An image without a valid pixel has loss 0 and counts.

    Args:
        classes: the mean is over the classes that are ``present`` in the targets, or over ``all``; an absent class
            has the loss of its surest pixel.
        per_image: mean over images; otherwise the batch is one large image, as by default in the authors' code, a loss
            that does not add up over steps or processes.

    Reference:
        Berman et al., The Lovász-Softmax loss, 2018 (arXiv 1705.08790).
    """

    exclusive = True

    def __init__(self, *, classes: Literal["present", "all"] = "present", per_image: bool = True) -> None:
        self.classes = classes
        self.per_image = per_image
        self.additive = per_image
        self.linear = per_image

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``.

        Without ``per_image``: the loss of the batch times the sum of weights; images of weight 0 stay out of it,
        other weights do not matter.
        """
        z, y, inside, w = flatten(logits, target, valid, weight)
        n, c, p = z.shape
        if c == 1:
            z, y, c = torch.cat([torch.zeros_like(z), z], dim=1), torch.cat([1 - y, y], dim=1), 2
        if not self.per_image:
            counted = (w > 0)[:, None, None].expand(n, 1, p)
            inside = counted if inside is None else inside & counted
        probability, positive = z.softmax(dim=1), y > 0.5
        area = None if inside is None else inside.expand(n, c, p)
        if not self.per_image:
            probability, positive = (x.transpose(0, 1).reshape(1, c, n * p) for x in (probability, positive))
            area = None if area is None else area.transpose(0, 1).reshape(1, c, n * p)
        losses = _of_classes(probability, positive, area)
        present = positive if area is None else positive & area
        counts = present.any(dim=2) if self.classes == "present" else torch.ones_like(losses, dtype=torch.bool)
        mean = (losses * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
        if self.per_image:
            return mean_sums(mean, w)
        return torch.stack([mean[0] * w.sum(), w.sum()])

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)


def _of_classes(probability: Tensor, positive: Tensor, valid: Tensor | None) -> Tensor:
    """The loss of each class: probabilities, labels and area N×C×P to N×C."""
    n, c, p = probability.shape
    errors = (positive.float() - probability).abs().reshape(n * c, p)
    rows = None if valid is None else valid.reshape(n * c, p)
    steps = jaccard_steps(errors.detach(), positive.reshape(n * c, p), rows, symmetric=False, hinge=False)
    return (errors * steps).sum(dim=1).reshape(n, c)
