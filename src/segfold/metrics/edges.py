"""Accuracy near the edges of the true regions and away from them: what a decoder gains, and what an encoder."""

from abc import abstractmethod
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from segfold.metrics.base import Floats, MaskMetric, MeanOfRatios
from segfold.metrics.truth import Truth

Width = Annotated[int, Ge(1), Le(1000)]


class _RegionAccuracy(MeanOfRatios, MaskMetric):
    """Share of the pixels of a part of the image whose classes are all right."""

    def __init__(self, *, width: Width = 7) -> None:
        self.width = width

    def ratios(self, classes: int) -> int:
        return 1

    @abstractmethod
    def _counted(self, truth: Truth) -> npt.NDArray[np.bool_]:
        """H×W, pixels that count."""

    def of(self, pred: npt.NDArray[np.bool_], truth: Truth) -> Floats:
        """Pixels that are right, then pixels."""
        if pred.shape != truth.planes.shape:
            raise ValueError(f"prediction of {pred.shape}, truth of {truth.planes.shape}: expected one shape")
        counted = truth.known((type(self), self.width), lambda: self._counted(truth))
        right = (pred == truth.planes).all(axis=0) & counted
        return np.array([np.count_nonzero(right), np.count_nonzero(counted)], np.float64)


class BoundaryAccuracy(_RegionAccuracy):
    """Share of the pixels near an edge of the truth that are right, over the set; 1 if there are none.

    A pixel is near if one of another label lies no farther than ``width`` from it, centre to centre. Void is a label of
    its own here, so the ring of void that VOC draws round an object is its edge; the edge of the image is none. A pixel
    is right if every class is; the background counts.

    Args:
        width: distance in pixels.

    Reference:
        Peng et al., Large kernel matters, 2017 (arXiv 1703.02719), table 5.
    """

    def _counted(self, truth: Truth) -> npt.NDArray[np.bool_]:
        near = near_edge(truth.planes, self.width)
        return near if truth.valid is None else near & truth.valid


class InternalAccuracy(_RegionAccuracy):
    """Share of the pixels that are not near an edge of the truth, see ``boundary_accuracy``, that are right, over the set.

    Args:
        width: distance in pixels up to which a pixel is near an edge.

    Reference:
        Peng et al., Large kernel matters, 2017 (arXiv 1703.02719), table 5.
    """

    def _counted(self, truth: Truth) -> npt.NDArray[np.bool_]:
        inside = ~near_edge(truth.planes, self.width)
        return inside if truth.valid is None else inside & truth.valid


def near_edge(planes: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    """H×W: whether a pixel of other classes lies no farther than ``width`` (Euclidean) from a pixel of C×H×W planes."""
    near = np.zeros(planes.shape[1:], np.bool_)
    for plane in planes:
        if plane.any() and not plane.all():
            for side in (plane, ~plane):
                distance = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                near |= side & (distance <= width)
    return near
