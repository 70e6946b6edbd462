"""Steps that move pixels: the mask moves with the image, and what lies outside is reflected.

Masks of 0 and 1 are interpolated bilinearly in uint8, which rounds them to the nearer value: they stay binary. Of class
indices the nearest pixel is taken, and outside there is none that counts (``Step.mask_fill``).
"""

import functools
import math
from collections.abc import Callable
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Le

from segfold.data.augment.library import library
from segfold.data.augment.step import Step
from segfold.ranges import Share

_BORDER = cv2.BORDER_REFLECT_101


def hflip(*, p: Share = 0.5) -> Any:
    """Mirrors left and right.

    Args:
        p: probability of the step.
    """
    return library().HorizontalFlip(p=p)


def vflip(*, p: Share = 0.5) -> Any:
    """Mirrors top and bottom.

    Args:
        p: probability of the step.
    """
    return library().VerticalFlip(p=p)


def affine(
    *,
    shift: Share = 0.1,
    scale: Annotated[float, Ge(0), Le(0.9)] = 0.1,
    rotate: Annotated[float, Ge(0), Le(180)] = 10.0,
    shear: Annotated[float, Ge(0), Le(45)] = 0.0,
    p: Share = 0.5,
) -> Any:
    """Moves, zooms, turns and shears about the centre, each by a uniform draw; the outside is reflected.

    Args:
        shift: largest move along either axis, as a share of its length.
        scale: zoom between 1 - scale and 1 + scale, the same for both axes.
        rotate: largest angle of the turn, in degrees.
        shear: largest angle of the lean, in degrees, drawn for each axis.
        p: probability of the step.
    """
    return _affine_class()(
        translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
        scale=(1 - scale, 1 + scale),
        keep_ratio=True,
        rotate=(-rotate, rotate),
        shear={"x": (-shear, shear), "y": (-shear, shear)},
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_LINEAR,
        border_mode=_BORDER,
        p=p,
    )


def shear(*, limit: Share = 0.07, p: Share = 0.5) -> Step:
    """Leans the image to one side: its top goes as far to the right as its bottom to the left.

    Of the first and ninth places of the TGS competition, both with a limit of 0.07.

    Args:
        limit: largest move of the top edge, as a share of the width.
        p: probability of the step.
    """
    return _Shear(limit, p)


def crop(
    *, scale: Annotated[float, Ge(0.01), Le(1)] = 0.6, ratio: Annotated[float, Ge(1), Le(10)] = 4 / 3, p: Share = 0.5
) -> Step:
    """Cuts out a window at random and stretches it to the original size (arXiv 1409.4842).

    Args:
        scale: smallest share of the image's area in the window; the largest is 1.
        ratio: how far the window's height and width, as shares of the image's, may differ: by a factor of up to
            this, as far as the window's area leaves room for it.
        p: probability of the step.
    """
    return _Crop(scale, ratio, p)


def elastic(
    *, limit: Annotated[float, Ge(0), Le(0.5)] = 0.05, smooth: Annotated[float, Ge(0.01), Le(1)] = 0.1, p: Share = 0.5
) -> Step:
    """Bends the image by a smooth random field (Simard et al., "Best practices for convolutional networks", 2003).

    Args:
        limit: largest move of any pixel, as a share of the shorter side; it is drawn up to this.
        smooth: deviation of the Gaussian that smooths the field, as a share of the shorter side; with less than
            ``limit`` the image may fold over itself.
        p: probability of the step.
    """
    return _Elastic(limit, smooth, p)


def grid_distortion(
    *, steps: Annotated[int, Ge(1), Le(100)] = 5, limit: Annotated[float, Ge(0), Le(0.9)] = 0.3, p: Share = 0.5
) -> Step:
    """Stretches and squeezes columns and rows of a grid; the image's edges stay where they are.

    Args:
        steps: number of columns, and of rows.
        limit: largest change of a column's width or a row's height: a factor between 1 - limit and 1 + limit, before
            all are scaled to fill the image.
        p: probability of the step.
    """
    return _GridDistortion(steps, limit, p)


class _Shear(Step):
    def __init__(self, limit: float, p: float) -> None:
        super().__init__(p)
        self._limit = limit

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = mask.shape[:2]
        move = self.stream.uniform(-self._limit, self._limit) * width
        # Edges lie half a pixel beyond the centres of the outermost pixels.
        matrix = np.array([[1, -2 * move / height, move * (1 - 1 / height)], [0, 1, 0]])
        return _warp(image, matrix), _warp_mask(mask, matrix, self.mask_fill)


class _Crop(Step):
    def __init__(self, scale: float, ratio: float, p: float) -> None:
        super().__init__(p)
        self._scale, self._ratio = scale, ratio

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        area = self.stream.uniform(self._scale, 1)
        most = min(math.log(self._ratio), -math.log(area))  # beyond, the window would leave the image
        ratio = math.exp(self.stream.uniform(-most, most))
        spans = math.sqrt(area / ratio), math.sqrt(area * ratio)
        (zoom_y, top), (zoom_x, left) = (
            (span, self.stream.uniform(0, 1 - span) * length + (span - 1) / 2)
            for span, length in zip(spans, mask.shape[:2], strict=True)
        )
        matrix = np.array([[zoom_x, 0, left], [0, zoom_y, top]])
        return _warp(image, matrix, cv2.WARP_INVERSE_MAP), _warp_mask(
            mask, matrix, self.mask_fill, cv2.WARP_INVERSE_MAP
        )


class _Elastic(Step):
    def __init__(self, limit: float, smooth: float, p: float) -> None:
        super().__init__(p)
        self._limit, self._smooth = limit, smooth

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        side = min(mask.shape[:2])
        noise = self.generator.standard_normal((*mask.shape[:2], 2), np.float32)
        field = cv2.GaussianBlur(noise, (0, 0), self._smooth * side, borderType=cv2.BORDER_REFLECT)
        longest = float(np.hypot(field[..., 0], field[..., 1]).max())
        field *= self.stream.uniform(0, self._limit) * side / longest
        columns, rows = np.meshgrid(*(np.arange(length, dtype=np.float32) for length in mask.shape[1::-1]))
        return _remap(image, mask, self.mask_fill, field[..., 0] + columns, field[..., 1] + rows)


class _GridDistortion(Step):
    def __init__(self, steps: int, limit: float, p: float) -> None:
        super().__init__(p)
        self._steps, self._limit = steps, limit

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = mask.shape[:2]
        columns, rows = np.meshgrid(self._places(width), self._places(height))
        return _remap(image, mask, self.mask_fill, columns, rows)

    def _places(self, length: int) -> np.ndarray:
        """Where each of ``length`` pixels of an axis comes from."""
        sizes = [1 + self.stream.uniform(-self._limit, self._limit) for _ in range(self._steps)]
        moved = np.concatenate([[0], np.cumsum(sizes)]) * (length - 1) / sum(sizes)
        even = np.linspace(0, length - 1, self._steps + 1)
        return np.interp(np.arange(length), even, moved).astype(np.float32)


@functools.cache
def _affine_class() -> Any:
    """albumentations' Affine, calling OpenCV directly: its own way there takes as long as the warp itself."""

    class Affine(library().Affine):  # type: ignore[misc]
        mask_fill: int | None = None  # as of ``Step``

        def apply(self, img: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
            return _warp(img, matrix[:2]) if img.shape[2] in (2, 3, 4) else super().apply(img, matrix, **params)

        def apply_to_mask(self, mask: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
            return _warp_mask(mask, matrix[:2], self.mask_fill)

    return Affine


def _warp(array: np.ndarray, matrix: np.ndarray, flags: int = 0) -> np.ndarray:
    size = array.shape[1], array.shape[0]
    return _by_channels(
        array, lambda part: cv2.warpAffine(part, matrix, size, flags=cv2.INTER_LINEAR | flags, borderMode=_BORDER)
    )


def _warp_mask(mask: np.ndarray, matrix: np.ndarray, fill: int | None, flags: int = 0) -> np.ndarray:
    """``fill``: see ``Step.mask_fill``."""
    if fill is None:
        return _warp(mask, matrix, flags)
    size = mask.shape[1], mask.shape[0]
    how = cv2.INTER_NEAREST | flags
    return cv2.warpAffine(mask, matrix, size, flags=how, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)


def _remap(
    image: np.ndarray, mask: np.ndarray, fill: int | None, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    def moved(part: np.ndarray) -> np.ndarray:
        return cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=_BORDER)

    if fill is None:
        return _by_channels(image, moved), _by_channels(mask, moved)
    nearest = cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return _by_channels(image, moved), nearest


def _by_channels(array: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Applies a function of OpenCV's, which takes up to four channels and drops the axis of a single one."""
    if array.ndim == 2 or array.shape[2] in (2, 3, 4):
        return function(array)
    if array.shape[2] == 1:
        return function(array)[:, :, np.newaxis]
    parts = [np.ascontiguousarray(array[:, :, first : first + 4]) for first in range(0, array.shape[2], 4)]
    return np.concatenate([function(part).reshape(part.shape) for part in parts], axis=2)
