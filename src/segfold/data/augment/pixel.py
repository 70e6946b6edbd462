"""Steps that change the values of pixels and leave the mask alone."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from segfold.data.augment.library import library
from segfold.data.augment.step import Step
from segfold.ranges import Share


def brightness(*, limit: Share = 0.1, p: Share = 0.5) -> Any:
    """Adds one number to every pixel.

    Args:
        limit: largest number, of either sign, as a share of the full range.
        p: probability of the step.
    """
    return library().RandomBrightnessContrast((-limit, limit), (0.0, 0.0), p=p)


def contrast(*, limit: Share = 0.1, p: Share = 0.5) -> Any:
    """Multiplies every pixel by one factor.

    Args:
        limit: largest distance of the factor from 1, up or down.
        p: probability of the step.
    """
    return library().RandomBrightnessContrast((0.0, 0.0), (-limit, limit), p=p)


def gamma(*, limit: Annotated[float, Ge(0), Le(10)] = 0.2, p: Share = 0.5) -> Any:
    """Raises every pixel, as a share of the full range, to one power.

    Args:
        limit: the power is drawn from 1 / (1 + limit) to 1 + limit.
        p: probability of the step.
    """
    return library().RandomGamma((100 / (1 + limit), 100 * (1 + limit)), p=p)


def invert(*, p: Share = 0.5) -> Any:
    """Takes every pixel from the full range: white becomes black (11th place of the TGS competition).

    Args:
        p: probability of the step.
    """
    return library().InvertImg(p=p)


def blur(*, sigma: Annotated[float, Ge(0.1), Le(50)] = 1.5, p: Share = 0.5) -> Any:
    """Smooths with a Gaussian.

    Args:
        sigma: largest deviation in pixels; the smallest is 0.3, or this if it is less, which changes next to nothing.
        p: probability of the step.
    """
    return library().GaussianBlur(blur_limit=0, sigma_limit=(min(0.3, sigma), sigma), p=p)


def noise(*, sigma: Share = 0.05, p: Share = 0.5) -> Step:
    """Adds Gaussian noise, independent from pixel to pixel and the same in all channels (grey images may have three).

    Args:
        sigma: largest deviation, as a share of the full range; it is drawn up to this.
        p: probability of the step.
    """
    return _Noise(sigma, p)


def cutout(
    *,
    holes: Annotated[int, Ge(0), Le(1000)] = 1,
    size: Share = 0.3,
    fill: Share | None = None,
    p: Share = 0.5,
) -> Step:
    """Fills rectangles of the image, whose mask is still asked for (arXiv 1708.04552; 9th place: one of 30 pixels in 101).

    Args:
        holes: number of rectangles, which may overlap.
        size: height and width of each, as a share of the image's; it lies wholly inside.
        fill: value in the rectangles, as a share of the full range; null for the mean of each channel.
        p: probability of the step.
    """
    return _Cutout(holes, size, fill, p)


class _Noise(Step):
    def __init__(self, sigma: float, p: float) -> None:
        super().__init__(p)
        self._sigma = sigma

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        full = _full(image)
        drawn = self.generator.standard_normal(mask.shape[:2], np.float32)
        drawn *= self.stream.uniform(0, self._sigma) * full
        noisy = np.clip(image + drawn[:, :, np.newaxis], 0, full)
        return _typed(noisy, image), mask


class _Cutout(Step):
    def __init__(self, holes: int, size: float, fill: float | None, p: float) -> None:
        super().__init__(p)
        self._holes, self._size, self._fill = holes, size, fill

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = self.window(mask)
        above, before = self.context
        cut = image.copy()
        inside = cut[above : above + rows, before : before + columns]
        value = inside.mean(axis=(0, 1)) if self._fill is None else np.array(self._fill * _full(image))
        height, width = (round(self._size * length) for length in (rows, columns))
        for _ in range(self._holes):
            top = self.stream.randint(0, rows - height)
            left = self.stream.randint(0, columns - width)
            inside[top : top + height, left : left + width] = _typed(value, image)
        return cut, mask


def _full(image: np.ndarray) -> float:
    return 255.0 if image.dtype == np.uint8 else 1.0


def _typed(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    return (np.rint(values) if image.dtype == np.uint8 else values).astype(image.dtype)
