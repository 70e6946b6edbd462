"""The fully connected CRF of Krähenbühl's own C++ code, by the package pydensecrf2."""

import numpy as np
from pydensecrf import densecrf


def mean_field(
    image: np.ndarray,
    planes: np.ndarray,
    appearance: tuple[float, float, float],
    smoothness: tuple[float, float],
    steps: int,
) -> np.ndarray:
    """C×H×W probabilities.

    Args:
        image: H×W×3 uint8.
        planes: C×H×W float32, of a pixel 1 in all.
        appearance: weight, deviation in pixels, deviation in colours.
        smoothness: weight, deviation in pixels.
    """
    count, height, width = planes.shape
    field = densecrf.DenseCRF2D(width, height, count)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(planes.clip(1e-5, 1)).reshape(count, -1), np.float32))
    weight, near, alike = appearance
    field.addPairwiseBilateral(sxy=near, srgb=alike, rgbim=np.ascontiguousarray(image), compat=weight)
    field.addPairwiseGaussian(sxy=smoothness[1], compat=smoothness[0])
    return np.array(field.inference(steps)).reshape(planes.shape)
