"""The Lovász-softmax: the Jaccard loss's surrogate on class probabilities."""

from typing import Literal

import torch
from torch import Tensor

from segfold.losses.base import flatten, mean_sums, mean_value
from segfold.losses.classes import one_hot
from segfold.losses.joint import Joint, flatten_joint
from segfold.losses.lovasz import jaccard_steps


class LovaszSoftmax(Joint):
    """Lovász extension of the Jaccard loss of each class, on the softmax over classes.

    The error of a pixel for a class is how far the class's probability is from what it should be, |1[y = c] - p_c|;
    the rest is as for the hinge. A single logit stands for two classes, background and object, whose logits differ by
    it; so does each of several that do not exclude each other, and the mean is over them. Soft targets are taken as
    ``> 0.5``, of classes that exclude each other as the one with the largest share. An image without a valid pixel has
    loss 0 and counts.

    Args:
        classes: the mean is over the classes that are ``present`` in the targets, or over ``all``; an absent class
            has the loss of its surest pixel.
        per_image: mean over images; otherwise the batch is one large image, as by default in the authors' code, a loss
            that does not add up over steps or processes.

    Reference:
        Berman et al., The Lovász-Softmax loss, 2018 (arXiv 1705.08790).
    """

    name = "lovasz_softmax"

    def __init__(self, *, classes: Literal["present", "all"] = "present", per_image: bool = True) -> None:
        self.which = classes
        self.per_image = per_image
        self.additive = per_image
        self.linear = per_image

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``.

        Without ``per_image``: the loss of the batch times the sum of weights; images of weight 0 stay out of it,
        other weights do not matter.
        """
        if self.classes.exclusive:
            z, label, _, inside, w = flatten_joint(logits, target, valid, weight)
            n, k, p = z.shape
            groups, positive = 1, one_hot(label, k) > 0.5
        else:
            z, y, inside, w = flatten(logits, target, valid, weight)
            n, groups, p = z.shape
            k, z, y = 2, z.reshape(n * groups, 1, p), y.reshape(n * groups, 1, p)
            z, positive = torch.cat([torch.zeros_like(z), z], dim=1), torch.cat([1 - y, y], dim=1) > 0.5
        if not self.per_image:
            counted = (w > 0)[:, None, None].expand(n, 1, p)
            inside = counted if inside is None else inside & counted
        probability = z.softmax(dim=1)
        area = (
            None if inside is None else inside.expand(n, groups, p).reshape(n * groups, 1, p).expand(n * groups, k, p)
        )
        if not self.per_image:
            probability, positive = (_together(x, n) for x in (probability, positive))
            area = None if area is None else _together(area, n)
        losses = _of_classes(probability, positive, area)
        present = positive if area is None else positive & area
        counts = present.any(dim=2) if self.which == "present" else torch.ones_like(losses, dtype=torch.bool)
        mean = (losses * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
        if self.per_image:
            return mean_sums(mean.reshape(n, groups).mean(dim=1), w)
        return torch.stack([mean.mean() * w.sum(), w.sum()])

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)


def _together(maps: Tensor, images: int) -> Tensor:
    """The images of each group as one: NG×K×P to G×K×NP."""
    _, k, p = maps.shape
    return maps.reshape(images, -1, k, p).permute(1, 2, 0, 3).reshape(-1, k, images * p)


def _of_classes(probability: Tensor, positive: Tensor, valid: Tensor | None) -> Tensor:
    """The loss of each class: probabilities, labels and area N×C×P to N×C."""
    n, c, p = probability.shape
    errors = (positive.float() - probability).abs().reshape(n * c, p)
    rows = None if valid is None else valid.reshape(n * c, p)
    steps = jaccard_steps(errors.detach(), positive.reshape(n * c, p), rows, symmetric=False, hinge=False)
    return (errors * steps).sum(dim=1).reshape(n, c)
