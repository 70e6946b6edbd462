"""Weighted cross-entropy: objects, rare classes and the gaps between neighbours count more."""

from typing import Annotated, Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from segfold.errors import SegfoldError
from segfold.losses.base import flatten, mean_sums, mean_value
from segfold.losses.classes import Classes, ClassWeights, one_hot
from segfold.losses.gaps import object_gaps
from segfold.losses.joint import Joint, JointPixels, flatten_joint, ratio, row_sums
from segfold.losses.mask_maps import BACKGROUND, OBJECT, MaskMaps


class WeightedBCE(Joint):
    """Weighted mean ``Σ w ℓ / Σ w`` of the cross-entropy ℓ of an image's valid pixels, then over images.

    ℓ is the softmax's for classes that exclude each other; otherwise a sigmoid's, and the mean is over classes too. The weight
    is U-Net's ``w = w_c + w0 exp(-(d1 + d2)² / (2 σ²))``. Divided by Σw, not by the number of pixels, every image counts the
    same, and with all settings at their defaults it is ``ce``. Soft targets keep their values in ℓ; which class a pixel has
    goes by ``> 0.5``, or by the largest share.

    Args:
        positive: weight w_c of object pixels, those of the background weigh 1. Not for classes that exclude each other, whose
            w_c are ``class_weights``.
        balance: divides w_c by twice the share of the class's pixels in the image, so that object and background weigh
            alike (before ``positive`` and ``border``) however small the object is. An image with one class only has the
            plain mean. Of classes that exclude each other, those that are in the image weigh alike.
        border: weight w0 that is added for pixels of the background between two objects, d1 and d2 away from the
            nearest and second nearest; 0: none; U-Net has 10. Objects are the competition's, of whatever class, where it has maps
            of them. Where it has none, they are the 8-connected parts of a class's mask, so that objects which touch are
            one; of classes that exclude each other, of what is not background. A mask with fewer than two has no such pixels.
        sigma: width σ of the borders, in pixels.
        class_weights: as of ``ce``.

    The distances are exact. Those of a competition's objects come with the samples; those of a mask's parts are made on the CPU,
    for which a GPU waits.

    Reference:
        Ronneberger et al., U-Net, 2015 (arXiv 1505.04597), section 3; there the weights are of the whole training set.
    """

    name = "weighted"
    additive = True
    linear = True

    def __init__(
        self,
        *,
        positive: Annotated[float, Ge(1e-6), Le(1e6)] = 1.0,
        balance: bool = False,
        border: Annotated[float, Ge(0), Le(1e6)] = 0.0,
        sigma: Annotated[float, Ge(1e-6), Le(1e6)] = 5.0,
        class_weights: ClassWeights | None = None,
    ) -> None:
        self.positive = positive
        self.balance = balance
        self.border = border
        self.sigma = sigma
        self.class_weights = class_weights
        self._gaps = MaskMaps(gaps_of_parts)

    @property
    def wants_gaps(self) -> bool:
        """See ``GapLoss``."""
        return self.border > 0

    def among(self, classes: Classes) -> Self:
        """See ``Joint.among``."""
        if classes.exclusive and self.positive != 1:
            raise SegfoldError(
                f"loss.mask.weighted.positive is {self.positive:g}, the weight of an object against the background, but the "
                "classes exclude each other: use loss.mask.weighted.class_weights"
            )
        if classes.exclusive and classes.background is None and self.border > 0:
            raise SegfoldError(
                f"loss.mask.weighted.border is {self.border:g}, the weight of background between objects, but no class is the "
                "background: name it in the competition file, or leave border out"
            )
        bound = super().among(classes)
        bound._gaps = MaskMaps(gaps_of_parts)
        return bound

    def sums(
        self,
        logits: Tensor,
        target: Tensor,
        valid: Tensor | None = None,
        weight: Tensor | None = None,
        gaps: Tensor | None = None,
    ) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``GapLoss.sums``."""
        if gaps is not None and gaps.shape != (len(logits), 1, *logits.shape[2:]):
            raise ValueError(f"gaps {tuple(gaps.shape)} do not fit logits {tuple(logits.shape)}")
        if self.classes.exclusive:
            pixels = flatten_joint(logits, target, valid, weight)
            amount = self._weights_of_labels(pixels, logits.shape[2:], gaps)
            total, counted = row_sums(pixels.cross_entropy() * amount, amount, pixels.valid)
            return mean_sums(ratio(total, counted).squeeze(1), pixels.weight)
        z, y, inside, w = flatten(logits, target, valid, weight)
        loss = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        pixel = self._weights(y, inside, logits.shape[2:], gaps)
        mean = (loss * pixel).sum(dim=2) / pixel.sum(dim=2).clamp(min=1e-12)
        return mean_sums(self.mean_over_rows(mean), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)

    def _weights(self, target: Tensor, valid: Tensor | None, size: tuple[int, ...], gaps: Tensor | None) -> Tensor:
        """N×C×P, 0 where a pixel is not valid."""
        is_object = target > 0.5
        classes = [~is_object, is_object] if valid is None else [~is_object & valid, is_object & valid]
        if self.balance:
            counts = [part.sum(dim=2, keepdim=True) for part in classes]
            pixels = counts[0] + counts[1]
            classes = [part * pixels / (2 * count.clamp(min=1)) for part, count in zip(classes, counts, strict=True)]
        weight = classes[0] + self.positive * classes[1]
        if self.border > 0:
            weight = weight + self._border_weights(is_object, valid, size, gaps)
        return weight

    def _weights_of_labels(self, pixels: JointPixels, size: tuple[int, ...], gaps: Tensor | None) -> Tensor:
        """N×1×P of exclusive classes."""
        label, valid = pixels.label, pixels.valid
        weight = (
            torch.ones_like(label, dtype=torch.float32)
            if self.weights is None
            else self.weights.to(label.device)[label]
        )
        if self.balance:
            planes = one_hot(label, pixels.logits.shape[1])
            counts = (planes if valid is None else planes * valid).sum(dim=2)
            # Each class that is present gets an equal share of the image's pixels.
            equal = counts.sum(dim=1, keepdim=True) / (counts > 0).sum(dim=1, keepdim=True).clamp(min=1)
            weight = weight * (equal / counts.clamp(min=1)).gather(1, label.squeeze(1)).unsqueeze(1)
        background = self.classes.background
        if self.border > 0 and background is not None:
            weight = weight + self._border_weights(label != background, valid, size, gaps)
        return weight

    def _border_weights(
        self, is_object: Tensor, valid: Tensor | None, size: tuple[int, ...], gaps: Tensor | None
    ) -> Tensor:
        """N×R×P for pixels N×R×P; 0 on objects and where a pixel is not valid."""
        if gaps is None:
            found = self._gaps(is_object.float(), valid, size)
        else:
            found = gaps.flatten(2).masked_fill(is_object if valid is None else is_object | ~valid, torch.inf)
        return border_weight(found, self.border, self.sigma)


def border_weight(gap: Tensor, w0: float, sigma: float) -> Tensor:
    """``w0 exp(-gap² / (2 sigma²))`` for gaps d1 + d2 in pixels; 0 where the gap is infinite."""
    return w0 * (-(gap**2) / (2 * sigma**2)).exp()


def gaps_of_parts(marks: np.ndarray) -> np.ndarray:
    """``object_gaps`` of the background's pixels, with the 8-connected parts of what is object for objects.

    Args:
        marks: N×C×H×W uint8: 0 does not count, 1 background, 2 object.

    Returns:
        N×C×H×W float32 in pixels; infinite on objects, where nothing counts, and where there are not two objects.
    """
    found = np.full(marks.shape, np.inf, np.float32)
    size = marks.shape[-2:]
    for mark, out in zip(marks.reshape(-1, *size), found.reshape(-1, *size), strict=True):
        _, objects = cv2.connectedComponents((mark == OBJECT).astype(np.uint8), connectivity=8)
        np.copyto(out, object_gaps(objects), where=mark == BACKGROUND)
    return found
