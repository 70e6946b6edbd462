"""What the page shows of a set's images: sheets of thumbnails, and a picture of each.

The first three channels are red, green and blue; of fewer the first is shown, as grey. Images of 16 bits are stretched, all of
a set alike: the thousandth part of its pixels becomes black, and as many white.
"""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segfold.board.kept import Kept, key_of
from segfold.cores import cores
from segfold.data.geometry.window import Window
from segfold.data.images import ImageSet
from segfold.data.look import shrunk
from segfold.disk import disk_errors

Bytes = npt.NDArray[np.uint8]

THUMB = 64
"""Longer side of a thumbnail, and both sides of its place on a sheet."""
COLUMNS = ROWS = 16
"""Thumbnails on a sheet; the last one has places that stay grey."""
NEUTRAL = 128
"""Grey of what no thumbnail covers."""
SIDES = (512, 384, 256, 192, 128, 96, 64)
"""Longest side of the pictures of a set: the first that keeps them small enough; an image is never enlarged to it."""
MOST = 40_000_000
"""Bytes that the pictures of a set may take, as far as a few of them tell; many thousand small ones may take more."""

_FEW, _TRIED = 100, 40  # images up to which nothing is tried, and how many are
_PICTURE_QUALITY, _THUMB_QUALITY = 80, 75
_CUT = 0.001  # share of pixels beyond black, and beyond white, of a set of 16 bits
_LOOKED_AT = 1000  # images of which their pixels are counted for that, in windows of so many rows and columns
_WINDOWS, _WINDOW = 4, 64


def write_pictures(
    kept: Kept, files: Path, folder: str, images: ImageSet, rows: Sequence[int] | np.ndarray, key: str
) -> dict[str, Any]:
    """Writes thumbnails and pictures of some images, where they are not there yet; all of them or none.

    Args:
        files: the board's folder, ``board-files``.
        folder: below it, where to; what the pictures are of is added to its name, so that no page takes old ones for new.
        rows: indices into ``images``, in the order of the page.
        key: of the images, beside their fingerprint.

    Returns:
        ``thumbs`` (side, columns, rows, sheets) and ``pictures``, a folder in which picture i is called ``<i>.jpg`` in
        five digits; None and None of no images. Names are below ``files``.

    Raises:
        SegfoldError: an image cannot be read any more, the disk is full.
    """
    places = [int(row) for row in rows]
    if not places:
        return {"thumbs": None, "pictures": None}
    key = key_of(key, images.fingerprint, places, THUMB, COLUMNS, ROWS, SIDES, MOST, _PICTURE_QUALITY, _THUMB_QUALITY)
    name = f"{folder}-{key[:12]}"
    kept.build(name, key, lambda path: _write(path, files / f"{folder}.part", images, places))
    sheets = [f"{name}/{_sheet_name(number)}" for number in range(-(-len(places) // (COLUMNS * ROWS)))]
    return {"thumbs": {"side": THUMB, "columns": COLUMNS, "rows": ROWS, "sheets": sheets}, "pictures": name}


def _write(path: Path, part: Path, images: ImageSet, rows: list[int]) -> None:
    """Writes a folder under another name, and calls it by its own when it is whole."""
    with disk_errors(path):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            _fill(part, images, rows)
            if path.exists():
                shutil.rmtree(path)
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _fill(folder: Path, images: ImageSet, rows: list[int]) -> None:
    tone = tone_of(images, rows)
    side = _longest_side(images, rows, tone)

    def work(number: int) -> Bytes:
        picture = fitted(small_picture(images, rows[number], tone), side, enlarge=False)
        (folder / f"{number:05}.jpg").write_bytes(_jpeg(picture, _PICTURE_QUALITY))
        return fitted(picture, THUMB)

    with ThreadPoolExecutor(cores()) as pool:
        for sheet, first in enumerate(range(0, len(rows), COLUMNS * ROWS)):
            thumbs = list(pool.map(work, range(first, min(first + COLUMNS * ROWS, len(rows)))))
            (folder / _sheet_name(sheet)).write_bytes(_jpeg(_sheet(thumbs), _THUMB_QUALITY))


def _sheet_name(number: int) -> str:
    return f"thumbs-{number}.jpg"


def _sheet(thumbs: list[Bytes]) -> Bytes:
    """Thumbnails row by row, each in the middle of its place."""
    grey = all(thumb.ndim == 2 for thumb in thumbs)
    sheet = np.full((ROWS * THUMB, COLUMNS * THUMB, *(() if grey else (3,))), NEUTRAL, np.uint8)
    for place, thumb in enumerate(thumbs):
        height, width = thumb.shape[:2]
        top = place // COLUMNS * THUMB + (THUMB - height) // 2
        left = place % COLUMNS * THUMB + (THUMB - width) // 2
        shown = thumb if grey or thumb.ndim == 3 else thumb[:, :, None]
        sheet[top : top + height, left : left + width] = shown
    return sheet


def _jpeg(picture: Bytes, quality: int) -> bytes:
    """A file of a picture H×W, or H×W×3 in the order red, green, blue."""
    ordered = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode(".jpg", ordered, settings)[1].tobytes()


Tone = Callable[[np.ndarray], Bytes]
"""From the values of a set's images to those that are shown."""


def tone_of(images: ImageSet, rows: Sequence[int]) -> Tone:
    """How images of a set are shown: those of 8 bits as they are, those of 16 bits stretched, all alike."""
    if images.images.dtype == np.uint8:
        return lambda pixels: pixels
    counts = np.zeros(1 << 16, np.int64)
    for number in np.unique(np.linspace(0, len(rows) - 1, _LOOKED_AT).astype(int)).tolist():
        for window in _windows(images.images.shapes[rows[number]]):
            pixels = channels(images.images.window(rows[number], window))
            counts += np.bincount(pixels.reshape(-1), minlength=1 << 16)
    reached = np.cumsum(counts)
    black, white = np.searchsorted(reached, [_CUT * reached[-1], (1 - _CUT) * reached[-1]]).tolist()
    if black >= white:  # nearly all pixels have one value: then what differs from it counts
        black, white = np.flatnonzero(counts)[[0, -1]].tolist()
    if black >= white:
        black, white = 0, (1 << 16) - 1
    values = np.rint(255 * (np.arange(1 << 16) - black) / (white - black)).clip(0, 255).astype(np.uint8)
    return lambda pixels: values[pixels]


def _windows(shape: np.ndarray) -> list[Window]:
    """A grid of windows over an image, so that little of a large one is read."""
    height, width = (min(_WINDOW, -(-int(side) // _WINDOWS)) for side in shape[:2])
    down, across = (
        np.unique(np.linspace(0, int(side) - size, _WINDOWS).astype(int)).tolist()
        for side, size in zip(shape[:2], (height, width))
    )
    return [Window(top, left, height, width) for top in down for left in across]


def channels(pixels: np.ndarray) -> np.ndarray:
    """What is shown of H×W×C: H×W×3 where there are three channels or more and they differ, else H×W."""
    if pixels.shape[2] < 3:
        return np.ascontiguousarray(pixels[:, :, 0])
    first = np.ascontiguousarray(pixels[:, :, :3])
    grey = np.array_equal(first[:, :, 0], first[:, :, 1]) and np.array_equal(first[:, :, 0], first[:, :, 2])
    return np.ascontiguousarray(first[:, :, 0]) if grey else first


def small_picture(images: ImageSet, row: int, tone: Tone) -> Bytes:
    """An image as it is shown, neither side longer than the longest of a picture; a large one is read strip by strip."""
    whole = channels(shrunk(images.images.reader(row)))
    return tone(fitted(whole, SIDES[0], enlarge=False))


def fitted(picture: np.ndarray, side: int, enlarge: bool = True) -> np.ndarray:
    """A picture H×W or H×W×3 whose longer side is ``side``; a smaller one only where it may be enlarged."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale == 1 or (scale > 1 and not enlarge):
        return picture
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _longest_side(images: ImageSet, rows: list[int], tone: Tone) -> int:
    """The longest side of the pictures of a set, as some of them come out."""
    if len(rows) <= _FEW:
        return SIDES[0]
    places = np.linspace(0, len(rows) - 1, _TRIED).astype(int).tolist()
    tried = [small_picture(images, rows[place], tone) for place in places]
    for side in SIDES:
        sizes = [len(_jpeg(fitted(each, side, enlarge=False), _PICTURE_QUALITY)) for each in tried]
        if np.mean(sizes) * len(rows) <= MOST:
            return side
    return SIDES[-1]
