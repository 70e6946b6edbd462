"""Steps that move pixels: the mask moves with the image, and what lies outside is reflected.

A window of a larger image comes with context, so that the pixels that move into it are the image's own; how many rows and
columns of it a step can need it says by ``reach`` (see ``segfold.data.augment.step.Step``).

Masks of 0 and 1 are interpolated bilinearly in uint8, which rounds them to the nearer value: they stay binary. Of class
indices the nearest pixel is taken, and outside there is none that counts (``Step.mask_fill``).
"""

import functools
import math
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Le

from segfold.data.augment.library import library
from segfold.data.augment.step import Step
from segfold.data.augment.warp import BORDER, between, remap, warp, warp_mask
from segfold.ranges import Share
from segfold.resize import Shape

_ENDLESS = (1 << 30, 1 << 30)


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
        border_mode=BORDER,
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

    def reach(self, shape: Shape, kept: Shape) -> Shape:
        most = self._limit * shape[1] * (1 + 2 * kept[0] / shape[0])
        return kept[0], kept[1] + math.ceil(most) + 1

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.window(mask)
        move = self.stream.uniform(-self._limit, self._limit) * width
        # Edges lie half a pixel beyond the centres of the outermost pixels.
        matrix = np.array([[1, -2 * move / height, move * (1 - 1 / height)], [0, 1, 0]])
        matrix = between(matrix, self.context, self.kept)
        shape = self.kept_shape(mask)
        return warp(image, matrix, shape), warp_mask(mask, matrix, shape, self.mask_fill)


class _Crop(Step):
    def __init__(self, scale: float, ratio: float, p: float) -> None:
        super().__init__(p)
        self._scale, self._ratio = scale, ratio

    def reach(self, shape: Shape, kept: Shape) -> Shape:
        return kept[0] + 1, kept[1] + 1

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        area = self.stream.uniform(self._scale, 1)
        most = min(math.log(self._ratio), -math.log(area))  # beyond, the window would leave the image
        ratio = math.exp(self.stream.uniform(-most, most))
        spans = math.sqrt(area / ratio), math.sqrt(area * ratio)
        (zoom_y, top), (zoom_x, left) = (
            (span, self.stream.uniform(0, 1 - span) * length + (span - 1) / 2)
            for span, length in zip(spans, self.window(mask), strict=True)
        )
        matrix = between(np.array([[zoom_x, 0, left], [0, zoom_y, top]]), self.kept, self.context)
        shape = self.kept_shape(mask)
        return warp(image, matrix, shape, cv2.WARP_INVERSE_MAP), warp_mask(
            mask, matrix, shape, self.mask_fill, cv2.WARP_INVERSE_MAP
        )


class _Elastic(Step):
    def __init__(self, limit: float, smooth: float, p: float) -> None:
        super().__init__(p)
        self._limit, self._smooth = limit, smooth

    def reach(self, shape: Shape, kept: Shape) -> Shape:
        most = math.ceil(self._limit * min(shape)) + 1
        return kept[0] + most, kept[1] + most

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.window(mask)
        side = min(height, width)
        noise = self.generator.standard_normal((height, width, 2), np.float32)
        field: np.ndarray = cv2.GaussianBlur(noise, (0, 0), self._smooth * side, borderType=cv2.BORDER_REFLECT)
        longest = float(np.hypot(field[..., 0], field[..., 1]).max())
        field *= self.stream.uniform(0, self._limit) * side / longest
        above, before = self.kept  # there the field goes on; its largest move stays
        whole = cv2.copyMakeBorder(field, above, above, before, before, cv2.BORDER_REFLECT) if any(self.kept) else field
        rows, columns = (
            np.arange(first - around, first + length + around, dtype=np.float32)
            for first, length, around in zip(self.context, (height, width), self.kept, strict=True)
        )
        return remap(image, mask, self.mask_fill, whole[..., 0] + columns, whole[..., 1] + rows[:, None])


class _GridDistortion(Step):
    def __init__(self, steps: int, limit: float, p: float) -> None:
        super().__init__(p)
        self._steps, self._limit = steps, limit

    def apply(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.window(mask)
        columns, rows = np.meshgrid(
            self._places(width, self.context[1], self.kept[1]), self._places(height, self.context[0], self.kept[0])
        )
        return remap(image, mask, self.mask_fill, columns, rows)

    def _places(self, length: int, context: int, kept: int) -> np.ndarray:
        """Where each of ``length`` pixels of an axis comes from; those around them stay where they are."""
        sizes = [1 + self.stream.uniform(-self._limit, self._limit) for _ in range(self._steps)]
        moved = np.concatenate([[0], np.cumsum(sizes)]) * (length - 1) / sum(sizes)
        even = np.linspace(0, length - 1, self._steps + 1)
        inside = np.interp(np.arange(length), even, moved)
        around = np.arange(-kept, 0), np.arange(length, length + kept)
        return (np.concatenate([around[0], inside, around[1]]) + context).astype(np.float32)


@functools.cache
def _affine_class() -> Any:
    """albumentations' Affine, calling OpenCV directly: its own way there takes as long as the warp itself."""

    class Affine(library().Affine):  # type: ignore[misc]
        context: Shape = (0, 0)  # these as of ``Step``
        kept: Shape = (0, 0)
        mask_fill: int | None = None

        def reach(self, shape: Shape, kept: Shape) -> Shape:
            return _affine_reach(
                shape,
                kept,
                shift=self.translate_percent["x"][1],
                zoom=self.scale["x"][0],
                rotate=self.rotate[1],
                shear=self.shear["x"][1],
            )

        def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
            height, width = params["shape"][:2]
            window = height - 2 * self.context[0], width - 2 * self.context[1]
            found = super().get_params_dependent_on_data({**params, "shape": window}, data)
            shape = window[0] + 2 * self.kept[0], window[1] + 2 * self.kept[1]
            return {**found, "matrix": between(found["matrix"], self.context, self.kept), "output_shape": shape}

        def apply(self, img: np.ndarray, matrix: np.ndarray, output_shape: Shape, **params: Any) -> np.ndarray:
            if img.shape[2] in (2, 3, 4):
                return warp(img, matrix[:2], output_shape)
            return super().apply(img, matrix, output_shape, **params)

        def apply_to_mask(self, mask: np.ndarray, matrix: np.ndarray, output_shape: Shape, **params: Any) -> np.ndarray:
            return warp_mask(mask, matrix[:2], output_shape, self.mask_fill)

    return Affine


def _affine_reach(shape: Shape, kept: Shape, *, shift: float, zoom: float, rotate: float, shear: float) -> Shape:
    """How far outside a window of this shape a pixel can come from, by rows and columns.

    Args:
        shift: largest move, as a share of each side.
        zoom: smallest factor.
        rotate: largest angle in degrees.
        shear: largest angle in degrees, of either axis.
    """
    # Of the corner that is farthest from the centre, moved, leant, turned and zoomed back, in this order.
    y, x = ((side - 1) / 2 + around + int(shift * side) for side, around in zip(shape, kept, strict=True))
    lean, turn = math.tan(math.radians(shear)), math.radians(rotate)
    if lean >= 1 - 1e-9:
        return _ENDLESS  # two leans of 45 degrees fold the plane into a line
    y, x = ((one + lean * other) / (1 - lean**2) for one, other in ((y, x), (x, y)))
    y, x = (
        math.hypot(y, x) if turn >= math.atan2(other, one) else one * math.cos(turn) + other * math.sin(turn)
        for one, other in ((y, x), (x, y))
    )
    rows, columns = (math.ceil(far / zoom - (side - 1) / 2) + 1 for far, side in zip((y, x), shape, strict=True))
    return rows, columns
