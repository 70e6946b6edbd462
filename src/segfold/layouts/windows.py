"""Windows of images that are too large for a whole read: of a tiled TIFF the tiles that a window needs are decoded."""

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segfold.errors import SegfoldError
from segfold.layouts.damage import DEFLATE
from segfold.layouts.picture import decoded, in_order
from segfold.layouts.tiff import Page, read_pages

KEPT_BYTES = 1 << 24  # of decoded tiles, of all images of a process; the last one is kept whatever its size
_BAND_BYTES = 1 << 24  # of the bands in which a whole image is read, or of one row of tiles
_MOST_SEGMENT = 1 << 26  # bytes of a decoded tile or strip; of larger ones a window is no better than the whole
_MOST_PIXELS, _LONGEST_SIDE = 1 << 30, 10**6  # that OpenCV reads
_COMMON = (1, 5, 7, 8, 32773, 32946)  # compression that every decoder knows: none, LZW, JPEG, deflate, PackBits


class TiffWindows:
    """A TIFF of which windows are decoded without the rest.

    Grey pages of one size are channels, as ``read_image`` has them. A window is to the bit that of the whole picture,
    as stored. It can be sent to another process, and be used by several threads.

    Args:
        path: the file.

    Raises:
        SegfoldError: the file cannot be read so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not self._pages:
            raise SegfoldError(
                f"{path} cannot be read by windows: expected a TIFF of tiles or strips, save it as a tiled one"
            )

    @property
    def orientation(self) -> int:
        """How the picture is to be turned before it is shown, 1 (not at all) to 8; windows are of what is stored."""
        found = self._pages[0].orientation
        return found if 1 <= found <= 8 else 1

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # the rest is read again where it is used

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def _pages(self) -> list[Page]:
        try:
            pages, status = read_pages(self.path), self.path.stat()
        except OSError as error:
            raise SegfoldError(f"{self.path} cannot be read: {error.strerror or error}") from error
        self._state = status.st_size, status.st_mtime_ns
        return pages if len(pages) > 1 and _are_channels(pages) else pages[:1]

    @cached_property
    def _first(self) -> np.ndarray:
        """What the first segment of each page is like."""
        first = [self._segment(page, 0, 0)[:1, :1] for page in range(len(self._pages))]
        if len({(each.shape, each.dtype) for each in first}) > 1 or (len(first) > 1 and first[0].shape[2] > 1):
            self._pages = self._pages[:1]
            first = first[:1]
        return np.concatenate(first, axis=2)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels. Decodes a tile."""
        return *self._pages[0].shape, self._first.shape[2]

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers in the file. Decodes a tile."""
        return self._first.dtype

    @property
    def tiled(self) -> bool:
        """Whether it is stored in tiles; strips are as wide as the image, of which a window needs more than it shows."""
        return all(page.tiled for page in self._pages)

    @property
    def pixel_bytes(self) -> int:
        """Of the whole image, decoded; an estimate from the file's tags."""
        return sum(page.pixel_bytes for page in self._pages)

    @property
    def is_fine(self) -> bool:
        """Whether no single tile or strip is large."""
        return max(page.segment_bytes for page in self._pages) <= _MOST_SEGMENT

    @property
    def is_readable(self) -> bool:
        """Whether a whole read of it is no larger than one of OpenCV."""
        return self.size[0] * self.size[1] <= _MOST_PIXELS and max(self.size) <= _LONGEST_SIDE

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, from the file's tags."""
        return self._pages[0].shape

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """The pixels of a window that lies in the image: height×width×C, colours in the order red, green, blue(, alpha).

        Raises:
            SegfoldError: a tile in it cannot be read.
        """
        whole = self.shape
        if min(top, left, height, width) < 0 or top + height > whole[0] or left + width > whole[1]:
            raise ValueError(f"window {top}, {left}, {height}×{width} of an image of {whole[0]}×{whole[1]}")
        pixels = np.empty((height, width, whole[2]), self.dtype)
        channels = len(self._pages)
        for number, page in enumerate(self._pages):
            high, wide = page.segment
            for row in range(top // high, -(-(top + height) // high)):
                for column in range(left // wide, -(-(left + width) // wide)):
                    tile = self._segment(number, row, column)
                    first, last = max(top, row * high), min(top + height, row * high + tile.shape[0])
                    start, end = max(left, column * wide), min(left + width, column * wide + tile.shape[1])
                    place = pixels[first - top : last - top, start - left : end - left]
                    place[:, :, number : number + 1 if channels > 1 else None] = tile[
                        first - row * high : last - row * high, start - column * wide : end - column * wide
                    ]
        return pixels

    def whole(self) -> np.ndarray:
        """All of it, as ``window``."""
        return self.window(0, 0, *self.size)

    def bands(self) -> Iterator[tuple[int, int]]:
        """Top and height of bands that make up the image from top to bottom; each needs tiles that no other one needs."""
        height, rows = self.size[0], self._pages[0].segment[0]
        if all(page.segment[0] == rows for page in self._pages):
            row = max(1, self.pixel_bytes // height)
            rows *= max(1, _BAND_BYTES // (row * rows))
        yield from ((top, min(rows, height - top)) for top in range(0, height, rows))

    def _segment(self, number: int, row: int, column: int) -> np.ndarray:
        """A tile or strip of a page, height×width×C, all of it even where it reaches beyond the image."""
        key = (str(self.path), *self._state, number, row, column)
        found = _tiles.find(key)
        if found is None:
            page = self._pages[number]
            planes = [self._decoded(page, plane, row, column) for plane in range(page.planes)]
            found = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
            _tiles.keep(key, found)
        return found

    def _decoded(self, page: Page, plane: int, row: int, column: int) -> np.ndarray:
        top, left = row * page.segment[0], column * page.segment[1]
        bottom, right = min(top + page.segment[0], page.shape[0]), min(left + page.segment[1], page.shape[1])
        what = f"{self.path}, its {'tile' if page.tiled else 'strip'} of rows {top}…{bottom - 1}, columns {left}…{right - 1},"
        place, length = int(page.places[plane, row, column]), int(page.lengths[plane, row, column])
        try:
            with self.path.open("rb") as file:
                file.seek(place)
                data = file.read(length)
        except OSError as error:
            raise SegfoldError(f"{what} cannot be read ({error.strerror or error}): copy the file anew") from error
        if not data or len(data) < length:
            raise SegfoldError(f"{what} cannot be read, the file ends before it does: copy the file anew")
        if page.compression in DEFLATE:
            try:  # the decoder does not read to the checksum; what is stored without compression it reads in no time
                data = zlib.compress(zlib.decompress(data), 0)
            except zlib.error as error:
                raise SegfoldError(f"{what} is damaged: {error}, copy it anew") from error
        try:
            pixels = in_order(decoded(page.file(row, data), what))
        except SegfoldError as error:
            if page.compression in _COMMON:
                raise
            raise SegfoldError(
                f"{what} is compressed by method {page.compression}, which OpenCV does not read here: save the file anew as a "
                "tiled TIFF with deflate, LZW or JPEG"
            ) from error
        if pixels.shape[0] < bottom - top or pixels.shape[1] < right - left:
            raise SegfoldError(f"{what} is damaged: it holds {pixels.shape[0]}×{pixels.shape[1]} pixels, copy it anew")
        return pixels


def _are_channels(pages: list[Page]) -> bool:
    return len({(page.shape, page.samples, page.bits) for page in pages}) == 1 and pages[0].samples == 1


_Key = tuple[str, int, int, int, int, int]


class _Tiles:
    """Decoded tiles that were used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, np.ndarray] = OrderedDict()
        self._bytes = 0

    def find(self, key: _Key) -> np.ndarray | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: _Key, tile: np.ndarray) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def forget(self) -> None:
        """Begins anew, in a process that was forked while a thread held the lock."""
        self.__init__()  # type: ignore[misc]


_tiles = _Tiles()
os.register_at_fork(after_in_child=_tiles.forget)
