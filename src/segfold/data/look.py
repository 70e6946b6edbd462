"""A sheet of images with masks drawn over them, to see what a network is trained on or what it predicts."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from segfold.data.geometry.window import Window, WindowReader, cut

Colour = tuple[int, int, int]

TINT: Colour = (64, 156, 255)
OUTLINE: Colour = (255, 196, 0)
TINTS: tuple[Colour, ...] = (
    TINT,
    (240, 112, 64),
    (80, 190, 90),
    (200, 90, 210),
    (250, 210, 60),
    (60, 200, 210),
    (230, 70, 110),
    (150, 120, 70),
    (120, 110, 240),
    (170, 200, 90),
    (130, 130, 130),
    (255, 160, 170),
)
"""Of the classes in their order, again from the first where there are more."""
_PAPER: Colour = (255, 255, 255)
_INK: Colour = (60, 60, 60)
_TITLE_HEIGHT = 18


def contact_sheet(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    *,
    outlines: Sequence[np.ndarray] | None = None,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    cell: int = 160,
    gap: int = 4,
) -> np.ndarray:
    """Images in rows and columns, each with its mask tinted and outlined.

    Args:
        images: H×W×C of 0…255 each (uint8, or float), or uint16 of 0…65535; the first three channels are shown as RGB,
            of fewer the first as grey. Sizes may differ, and are fitted into the cell.
        masks: H×W each, foreground where above 0; tinted, and outlined in the tint's colour. Or C×H×W each, a plane a
            class, each in a colour of its own.
        outlines: further masks to draw as a second outline, such as the truth beside a prediction.
        titles: a short line above each image.
        columns: images a row; by default a sheet somewhat wider than high.
        cell: width and height of an image on the sheet, in pixels.
        gap: pixels between images and around them.

    Returns:
        H×W×3 uint8 RGB.

    Raises:
        ValueError: nothing to show, or numbers of images, masks, outlines and titles that differ.
    """
    lengths = {len(part) for part in (images, masks, outlines, titles) if part is not None}
    if lengths == {0} or len(lengths) != 1:
        raise ValueError(f"a sheet needs as many masks as images, and at least one; found {sorted(lengths)}")
    count = len(images)
    columns = min(columns or math.ceil(math.sqrt(1.6 * count)), count)
    rows = math.ceil(count / columns)
    top = 0 if titles is None else _TITLE_HEIGHT
    sheet = np.empty((gap + rows * (top + cell + gap), gap + columns * (cell + gap), 3), np.uint8)
    sheet[:] = _PAPER
    for i in range(count):
        y = gap + i // columns * (top + cell + gap)
        x = gap + i % columns * (cell + gap)
        if titles is not None:
            _write(sheet[y : y + top, x : x + cell], titles[i])
        second = None if outlines is None else outlines[i]
        picture = overlay(images[i], masks[i], second, cell)
        y += top + (cell - picture.shape[0]) // 2
        x += (cell - picture.shape[1]) // 2
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def shrunk(image: np.ndarray | WindowReader, most: int = 2048) -> np.ndarray:
    """An image with every so many-th row and column alone, so that neither side is longer than ``most``.

    Args:
        image: H×W or H×W×C, or what reads its windows; a strip of it at a time is held.

    Returns:
        The image itself where it is not longer.
    """
    height, width = image.shape[:2]
    step = -(-max(height, width) // most)
    if step == 1:
        return cut(image, Window(0, 0, height, width))
    rows = 64 * step
    strips = (Window(top, 0, min(rows, height - top), width) for top in range(0, height, rows))
    return np.concatenate([np.array(cut(image, strip)[::step, ::step]) for strip in strips])


def overlay(image: np.ndarray, mask: np.ndarray, outline: np.ndarray | None, cell: int) -> np.ndarray:
    """One image with its mask H×W, or planes C×H×W, its longer side scaled to ``cell`` pixels: H×W×3 uint8 RGB."""
    planes = mask[None] if mask.ndim == 2 else mask
    height, width = planes.shape[1:]
    if image.shape[:2] != (height, width):
        raise ValueError(f"image of {image.shape} with a mask of {mask.shape}")
    scale = cell / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    colours = _bytes(image[:, :, :3] if image.shape[2] >= 3 else image[:, :, :1].repeat(3, axis=2))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(np.ascontiguousarray(colours), size, interpolation=way)
    for index, plane in enumerate(planes):
        tint = TINTS[index % len(TINTS)]
        # Masks are enlarged smoothly, so that outlines are curves rather than stairs.
        inside = _fitted(plane, size)
        tinted = cv2.addWeighted(picture, 0.68, np.full_like(picture, tint), 0.32, 0)
        picture = np.where(inside[:, :, None], tinted, picture)
        _draw(picture, inside, tint)
    if outline is not None:
        _draw(picture, _fitted(outline, size), OUTLINE)
    return picture


def _bytes(image: np.ndarray) -> np.ndarray:
    """The nearest values of 8 bits."""
    if image.dtype == np.uint8:
        return image
    return np.rint(image / 257 if image.dtype == np.uint16 else image).clip(0, 255).astype(np.uint8)


def _fitted(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    way = cv2.INTER_AREA if mask.shape[0] > size[1] else cv2.INTER_LINEAR
    return cv2.resize((mask > 0).astype(np.float32), size, interpolation=way) > 0.5


def _draw(picture: np.ndarray, inside: np.ndarray, colour: Colour) -> None:
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)


def _write(strip: np.ndarray, text: str) -> None:
    line = np.empty(strip.shape, np.uint8)
    line[:] = _PAPER
    cv2.putText(line, text, (1, _TITLE_HEIGHT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    strip[:] = line
