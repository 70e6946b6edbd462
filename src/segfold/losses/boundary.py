"""The boundary loss: probability times the distance from the true boundary."""

import numpy as np
from torch import Tensor

from segfold.losses.base import flatten, mean_over_pixels, mean_sums, mean_value
from segfold.losses.mask_maps import BACKGROUND, OBJECT, MaskMaps, distance_to


class Boundary:
    """Mean over the valid pixels of ``p φ``, p the sigmoid of the logits and φ the signed distance map of the mask.

    A pixel of the background costs its distance, in pixels, to the object; one of the object costs
    1 minus its distance to the background: 0 on the object's edge, negative inside. So the loss may be negative, and is
    least where p is the mask, at the mean of the negative distances. It grows with the image's size, so its weight
    goes with that. Mean over classes, then over images.

    A mask that is empty or full within the valid area has no boundary: its image has loss 0, no gradient, and counts in
    the mean. That, and the few pixels that decide it, is why this loss goes beside one of the region or of pixels.
    Soft targets are taken as ``> 0.5``. Only valid pixels are object or background.

    The maps are made on the CPU, by one exact distance transform each for the object and the background of an
    image; on a GPU that waits for the masks.

    Reference:
        Kervadec et al., Boundary loss for highly unbalanced segmentation, 2019 (arXiv 1812.07032); the distances
        are those of the authors' code.
    """

    additive = True
    linear = True

    def __init__(self) -> None:
        self._distances = MaskMaps(signed_distance)

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Weighted sum of the images' losses, and sum of the weights (2). See ``Loss.sums``."""
        z, y, inside, w = flatten(logits, target, valid, weight)
        loss = z.sigmoid() * self._distances(y, inside, logits.shape[2:])
        return mean_sums(mean_over_pixels(loss, inside), w)

    def value(self, sums: Tensor) -> Tensor:
        """The mean over images."""
        return mean_value(sums)


def signed_distance(marks: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the boundary of the mask, negative inside.

    Args:
        marks: N×C×H×W uint8: 0 does not count, 1 background, 2 object.

    Returns:
        N×C×H×W float32: for background the Euclidean distance to the nearest pixel of the object, for the object 1 minus
        that to the nearest pixel of the background, 0 where nothing counts or a mask has only one of the two.
    """
    distance = np.zeros(marks.shape, np.float32)
    size = marks.shape[-2:]
    for mark, signed in zip(marks.reshape(-1, *size), distance.reshape(-1, *size), strict=True):
        object_, background = mark == OBJECT, mark == BACKGROUND
        if object_.any() and background.any():
            np.copyto(signed, distance_to(object_), where=background)
            np.copyto(signed, 1 - distance_to(background), where=object_)
    return distance
