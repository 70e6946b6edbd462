"""Weighted cross-entropy: objects, rare classes and the gaps between neighbours count more."""

from typing import Annotated

import cv2
import numpy as np
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from segfold.losses.base import flatten, mean_sums, mean_value
from segfold.losses.mask_maps import BACKGROUND, OBJECT, MaskMaps, distance_to


class WeightedBCE:
    """Weighted mean ``Σ w ℓ / Σ w`` of the binary cross-entropy ℓ of an image's valid pixels, then over classes and images.

    The weight is U-Net's ``w = w_c + w0 exp(-(d1 + d2)² / (2 σ²))``. Divided by Σw, not by the number of pixels, every
    image counts the same, and with all settings at their defaults it is ``BCE``. Soft targets keep their values in ℓ;
    which class a pixel has goes by ``> 0.5``.

    Args:
        positive: weight w_c of object pixels, those of the background weigh 1.
        balance: divides w_c by twice the share of the class's pixels in the image, so that object and background weigh
            alike (before ``positive`` and ``border``) however small the object is. An image with one class only has the
            plain mean.
        border: weight w0 that is added for pixels of the background between two objects, d1 and d2 away from the
            nearest and second nearest; 0: none; U-Net has 10. Objects are the 8-connected parts of the mask, so those
            that touch are one. A mask with fewer than two objects has no such pixels.
        sigma: width σ of the borders, in pixels.

    The maps of the borders are made on the CPU, by one exact distance transform an object; on a GPU that waits
    for the masks.

    Reference:
        Ronneberger et al., U-Net, 2015 (arXiv 1505.04597), section 3; there the weights are of the whole training set.
    """

    additive = True
    linear = True

    def __init__(
        self,
        *,
        positive: Annotated[float, Ge(1e-6), Le(1e6)] = 1.0,
        balance: bool = False,
        border: Annotated[float, Ge(0), Le(1e6)] = 0.0,
        sigma: Annotated[float, Ge(1e-6), Le(1e6)] = 5.0,
    ) -> None:
        self.positive = positive
        self.balance = balance
        self.border = border
        self.sigma = sigma
        self._gaps = MaskMaps(gaps)

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``."""
        z, y, inside, w = flatten(logits, target, valid, weight)
        loss = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        pixel = self._weights(y, inside, logits.shape[2:])
        mean = (loss * pixel).sum(dim=2) / pixel.sum(dim=2).clamp(min=1e-12)
        return mean_sums(mean.mean(dim=1), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)

    def _weights(self, target: Tensor, valid: Tensor | None, size: tuple[int, ...]) -> Tensor:
        """N×C×P, 0 where a pixel is not valid."""
        is_object = target > 0.5
        classes = [~is_object, is_object] if valid is None else [~is_object & valid, is_object & valid]
        if self.balance:
            counts = [part.sum(dim=2, keepdim=True) for part in classes]
            pixels = counts[0] + counts[1]
            classes = [part * pixels / (2 * count.clamp(min=1)) for part, count in zip(classes, counts, strict=True)]
        weight = classes[0] + self.positive * classes[1]
        if self.border > 0:
            weight = weight + border_weight(self._gaps(target, valid, size), self.border, self.sigma)
        return weight


def border_weight(gap: Tensor, w0: float, sigma: float) -> Tensor:
    """``w0 exp(-gap² / (2 sigma²))`` for gaps d1 + d2 in pixels; 0 where the gap is infinite."""
    return w0 * (-(gap**2) / (2 * sigma**2)).exp()


def gaps(marks: np.ndarray) -> np.ndarray:
    """Distance to the nearest plus that to the second nearest object, for the pixels of the background.

    Args:
        marks: N×C×H×W uint8: 0 does not count, 1 background, 2 object.

    Returns:
        N×C×H×W float32 in pixels; infinite on objects, where nothing counts, and where there are not two objects.
    """
    sums = np.full(marks.shape, np.inf, np.float32)
    size = marks.shape[-2:]
    for mark, out in zip(marks.reshape(-1, *size), sums.reshape(-1, *size), strict=True):
        count, labels = cv2.connectedComponents((mark == OBJECT).astype(np.uint8), connectivity=8)
        if count < 3:  # the background is one of them
            continue
        nearest, second = (np.full(size, np.inf, np.float32) for _ in range(2))
        for label in range(1, count):
            distance = distance_to(labels == label)
            np.minimum(second, np.maximum(nearest, distance), out=second)
            np.minimum(nearest, distance, out=nearest)
        np.copyto(out, nearest + second, where=mark == BACKGROUND)
    return sums
