"""How large an image is, by what its file begins with: nothing is decoded."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from segfold.errors import SegfoldError
from segfold.layouts import large
from segfold.layouts.arrays import is_array
from segfold.layouts.large import LargeSize, Way
from segfold.layouts.messages import overheard
from segfold.layouts.windows import TiffWindows

_TYPES = {"1": "uint8", "I": "int32", "F": "float32"}  # of Pillow's modes


class Header(NamedTuple):
    """What the beginning of a file says: the size as stored, and what ``read_image`` will make of it.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: of a pixel.
        dtype: of a channel, as far as it is known.
        windows: reads windows of it; None of a file that is read whole.
    """

    height: int
    width: int
    channels: int
    dtype: str
    windows: TiffWindows | None = None

    @property
    def size(self) -> int:
        """In bytes, decoded."""
        return self.height * self.width * self.channels * np.dtype(self.dtype).itemsize

    @property
    def large(self) -> LargeSize | None:
        """How it is read if it is too large for a whole read; None of another."""
        if self.size <= large.LARGE:
            return None
        way: Way = "whole"
        if self.windows is not None:
            way = "windows" if self.windows.tiled else "strips"
        return LargeSize(self.height, self.width, self.size, way)


def read_header(path: Path) -> Header | None:
    """The header of an image file; None of files of numbers, and if it says nothing."""
    if is_array(path):
        return None
    try:
        return _of_tiff(path) or overheard(lambda: _of_picture(path), lambda printed: False)[0]
    except Exception:  # each format has its own; whoever reads the file says what is wrong
        return None


def _of_picture(path: Path) -> Header:
    with Image.open(path) as picture:
        # Pillow has no mode for colours of 16 bits: such a PNG is twice as large as this says.
        dtype = "uint16" if "16" in picture.mode else _TYPES.get(picture.mode, "uint8")
        channels = 3 if picture.mode == "P" else len(picture.getbands())
        return Header(picture.height, picture.width, channels, dtype)


def _of_tiff(path: Path) -> Header | None:
    try:
        windows = TiffWindows(path)
    except SegfoldError:
        return None
    if not windows.is_fine:
        return None
    _, _, channels = windows.shape
    return Header(*windows.size, channels, str(windows.dtype), windows)
