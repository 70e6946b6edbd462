"""Images that are too large for a whole read: which they are, and how they are read all the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from segfold.disk import size_text
from segfold.errors import SegfoldError
from segfold.layouts.ahead import map_files
from segfold.layouts.arrays import is_array
from segfold.layouts.decode import Reading, finished
from segfold.layouts.kinds import converted
from segfold.layouts.windows import TiffWindows

LARGE = 1 << 28  # bytes, decoded, above which an image is not read whole if there is another way


class LargeImage:
    """An image of which windows are read from its TIFF, as a competition says.

    Args:
        windows: of the file.
        white: as of ``read_image``.
        values: as of ``read_image``.
        channels: the common number of a split's images; None for the file's own.
    """

    def __init__(
        self,
        windows: TiffWindows,
        white: int | None = None,
        values: tuple[float, float] | None = None,
        channels: int | None = None,
    ) -> None:
        self._windows, self._white, self._values, self._channels = windows, white, values, channels

    @property
    def path(self) -> Path:
        return self._windows.path

    @property
    def in_place(self) -> bool:
        """Whether windows are read from the file itself: strips are copied, as each is as wide as the image."""
        return self._windows.tiled

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels. Decodes a tile, and fails as ``window``."""
        height, width, channels = self._windows.shape
        return height, width, self._channels or channels

    @property
    def pixel_bytes(self) -> int:
        """Of the whole image, decoded."""
        return self._windows.pixel_bytes

    def converted(self, channels: int) -> "LargeImage":
        """The same image with another number of channels; see ``segfold.layouts.kinds.converted``."""
        return LargeImage(self._windows, self._white, self._values, channels)

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """The pixels of a window that lies in the image, height×width×C, as ``read_image`` gives them.

        Raises:
            SegfoldError: a tile of it cannot be read, or it holds values that ``read_image`` refuses.
        """
        pixels = self._windows.window(top, left, height, width)
        pixels = finished(pixels, self.path, white=self._white, values=self._values)
        if self._channels is None or pixels.shape[2] == self._channels:
            return pixels
        return np.ascontiguousarray(converted(pixels, self._channels))

    def bands(self) -> Iterator[tuple[int, int, int, int]]:
        """Windows as wide as the image that make it up from top to bottom, each of little memory."""
        width = self._windows.size[1]
        yield from ((top, 0, height, width) for top, height in self._windows.bands())


def large_image(reading: Reading, paths: Sequence[Path]) -> LargeImage | None:
    """An image that is too large for a whole read, where there is another way: a TIFF in one file that is not turned.

    Args:
        paths: its bands.
    """
    if len(paths) != 1 or is_array(paths[0]):
        return None
    try:
        windows = TiffWindows(paths[0])
    except SegfoldError:  # a whole read says why, or reads it
        return None
    if windows.pixel_bytes <= LARGE or not windows.is_fine:
        return None
    if windows.orientation != 1 and reading.exif != "ignore":
        return None
    return LargeImage(windows, reading.white, reading.values)


def read_bands(image: LargeImage) -> Iterator[np.ndarray]:
    """All of an image from top to bottom, on several threads; in memory that does not grow with it."""
    return map_files(lambda band: image.window(*band), image.bands())


Way = Literal["windows", "strips", "whole"]

_WAYS: dict[Way, str] = {
    "windows": "read by windows from tiled TIFF",
    "strips": "copied strip by strip into the cache, which is mapped (tiled TIFF is not copied)",
    "whole": "decoded whole once into the cache, which is mapped (tiled TIFF is not)",
}


class LargeSize(NamedTuple):
    """An image that is too large for a whole read.

    Attributes:
        height: in pixels.
        width: in pixels.
        size: in bytes, decoded.
        way: how it is read.
    """

    height: int
    width: int
    size: int
    way: Way


def large_size(image: np.ndarray | LargeImage) -> LargeSize | None:
    """How large an image is that is too large for a whole read; None of another."""
    if isinstance(image, LargeImage):
        way: Way = "windows" if image.in_place else "strips"
        return LargeSize(image.shape[0], image.shape[1], image.pixel_bytes, way)
    return LargeSize(image.shape[0], image.shape[1], image.nbytes, "whole") if image.nbytes > LARGE else None


def large_notes(sizes: Sequence[LargeSize]) -> list[str]:
    """A line on images that are too large for a whole read; none if none are."""
    if not sizes:
        return []
    largest = max(sizes, key=lambda each: each.size)
    counts = {way: sum(each.way == way for each in sizes) for way in _WAYS}
    ways = "; ".join(f"{count} {'is' if count == 1 else 'are'} {_WAYS[way]}" for way, count in counts.items() if count)
    few = "1 is" if len(sizes) == 1 else f"{len(sizes)} are"
    return [
        f"{few} too large for a whole read (the largest: {largest.height}×{largest.width}, {size_text(largest.size)} decoded): "
        f"{ways}; set input.crop (input.crop=1024, say) to train on windows of them, prediction is by tiles then"
    ]
