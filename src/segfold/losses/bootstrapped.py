"""Online bootstrapped cross-entropy: in each image only the hardest pixels teach."""

import copy
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from segfold.errors import SegfoldError
from segfold.losses.base import flatten, mean_sums, mean_value
from segfold.losses.classes import ClassWeights
from segfold.losses.joint import Joint, flatten_joint, ratio
from segfold.ranges import Share

_SHARE = 1 / 16
_Some = Annotated[float, Ge(1e-6), Le(1)]


class Bootstrapped(Joint):
    """Mean cross-entropy of the K pixels of an image with the largest, then over images.

    It is the softmax's for classes that exclude each other; otherwise a sigmoid's, and the mean is over classes too. The
    pixels are chosen in each image (and class) by themselves, not in the whole batch: one hard image does not take the
    pixels of the others. K never exceeds the valid pixels, so that it is always a mean of K losses; where pixels tie for
    the last places they share them, and the gradient does not depend on their order.

    Args:
        pixels: K, the number of hardest pixels.
        fraction: K as a share of an image's valid pixels, rounded, at least one pixel; 1/16 if neither is given,
            as for FRRN-B (32,768 of 512×1024).
        warmup: share of the stage over which K falls, in a straight line, from all pixels to its own value; a
            network that knows nothing yet has no hard pixels.
        below: every pixel whose class gets less than this probability teaches too, so that K is the least number
            (online hard example mining, OHEM; 0.7 for OCNet); null: K pixels, no more. The class of a soft target goes
            by ``> 0.5``, or is the one with the largest share.
        class_weights: as of ``ce``; pixels are chosen by their weighted losses.

    Raises:
        SegfoldError: both ``pixels`` and ``fraction``.

    Reference:
        Wu et al., Bridging category-level and instance-level semantic image segmentation, 2016 (arXiv 1605.06885);
        Pohlen et al., Full-resolution residual networks, 2016 (arXiv 1611.08323); for ``below``
        Yuan et al., OCNet, 2018 (arXiv 1809.00916), which counts over the batch, not the image.
    """

    name = "bootstrapped"
    additive = True
    linear = True

    def __init__(
        self,
        *,
        pixels: Annotated[int, Ge(1), Le(1_000_000_000)] | None = None,
        fraction: _Some | None = None,
        warmup: Share = 0.0,
        below: _Some | None = None,
        class_weights: ClassWeights | None = None,
    ) -> None:
        if pixels is not None and fraction is not None:
            raise SegfoldError(
                f"loss.mask.bootstrapped.pixels is {pixels} and fraction is {fraction:g}: give one of the two"
            )
        self.pixels = pixels
        self.fraction = _SHARE if fraction is None else fraction
        self.warmup = warmup
        self._warm = 0.0 if self.warmup else 1.0
        self.below = below
        self.class_weights = class_weights

    def at(self, done: float) -> "Bootstrapped":
        """The loss when a share ``done`` of the stage is over (0 to 1)."""
        moved = copy.copy(self)
        moved._warm = min(1.0, done / self.warmup) if self.warmup else 1.0
        return moved

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``."""
        if self.classes.exclusive:
            pixels = flatten_joint(logits, target, valid, weight)
            inside, w, amount = pixels.valid, pixels.weight, pixels.weights(self.weights)
            loss = pixels.cross_entropy(self.weights)
        else:
            z, y, inside, w = flatten(logits, target, valid, weight)
            loss, amount = F.binary_cross_entropy_with_logits(z, y, reduction="none"), None
        hard = None
        if self.below is not None:
            if self.classes.exclusive:
                likely = pixels.logits.softmax(dim=1).gather(1, pixels.label)
            else:
                likely = torch.where(y > 0.5, z, -z).sigmoid()
            hard = likely < self.below
            hard = hard if inside is None else hard & inside
        return mean_sums(self.mean_over_rows(hardest_mean(loss, self._count, inside, hard, amount)), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)

    def _count(self, valid: Tensor) -> Tensor:
        own = self.fraction * valid if self.pixels is None else valid.clamp(max=self.pixels)
        return (valid + self._warm * (own - valid)).round()


def hardest_mean(
    loss: Tensor,
    count: Callable[[Tensor], Tensor],
    valid: Tensor | None = None,
    hard: Tensor | None = None,
    amount: Tensor | None = None,
) -> Tensor:
    """Mean of the K largest of each row, and of others that are taken anyway.

    Args:
        loss: N×C×P.
        count: numbers of valid pixels to numbers K of pixels that are taken, more of more; 0 is made 1.
        valid: N×1×P or N×C×P bool, those that may be taken (None: all).
        hard: N×C×P bool, valid ones that are taken anyway (None: no others).
        amount: N×C×P, what each pixel counts for in the mean; its loss is multiplied by it already (None: 1 each).

    Returns:
        N×C; 0 where no pixel is valid.
    """
    pixels = loss.shape[2]
    found = loss.new_full((1, 1), pixels) if valid is None else valid.sum(dim=2).to(loss.dtype)
    k = torch.minimum(count(found).clamp(min=1), found)
    ranked = loss.detach()
    if valid is not None:
        ranked = ranked.masked_fill(~valid, -torch.inf)
    # A bound for all rows that is known without asking the device.
    most = max(1, int(count(torch.tensor(float(pixels)))))
    place = (k.clamp(min=1) - 1).long().expand(loss.shape[:2]).unsqueeze(2)
    threshold = ranked.topk(most, dim=2).values.gather(2, place)
    above, tied = ranked > threshold, ranked == threshold
    share = (k - above.sum(dim=2)) / tied.sum(dim=2).clamp(min=1)
    chosen = above + tied * share.unsqueeze(2)
    if hard is not None:
        chosen = torch.maximum(chosen, hard.to(chosen.dtype))
        k = chosen.sum(dim=2)
    if amount is not None:
        return ratio((loss * chosen).sum(dim=2), (amount * chosen).sum(dim=2))
    return (loss * chosen).sum(dim=2) / k.clamp(min=1)
