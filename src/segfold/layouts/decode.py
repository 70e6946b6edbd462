"""Image and mask files to arrays: 8 or 16 bits and any channel count are kept, masks are read with ``>
0``, or above another threshold."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from segfold.errors import SegfoldError
from segfold.layouts.arrays import is_array, range_of, read_array, scaled
from segfold.layouts.messages import overheard
from segfold.layouts.picture import decoded, in_order
from segfold.layouts.tags import TIFF, orientation
from segfold.layouts.tiff import is_beyond_opencv
from segfold.layouts.windows import TiffWindows
from segfold.tasks import Task

Exif = Literal["turn", "ignore"]
Palette = Literal["colours", "indices"]
_BACK = {6: 8, 8: 6}  # the other turns and mirrors undo themselves


class OrientationError(SegfoldError):
    """An image that is to be turned before it is shown, and nobody has said whether its mask is."""

    def __init__(self, path: Path, orientation: int, shape: tuple[int, int]) -> None:
        height, width = shape
        super().__init__(
            f"{path} is stored as {height}×{width} with EXIF orientation {orientation}, so viewers turn it: set exif: turn "
            "in the competition file if masks are drawn on the turned picture, exif: ignore if on the stored one"
        )
        self.stored = shape
        self.turned = shape[::-1] if orientation >= 5 else shape


def read_image(
    path: Path,
    *,
    exif: Exif | None = None,
    white: int | None = None,
    frame: int | None = None,
    values: tuple[float, float] | None = None,
) -> np.ndarray:
    """Decodes an image.

    Args:
        exif: whether to turn it as its file says; None refuses one that says so.
        white: the value in the file that becomes the largest of its type, the smaller ones in proportion; None leaves
            values as they are. Alpha always stays.
        frame: index that is taken of the last axis of a ``.npy`` array.
        values: the two numbers in the file that become 0 and 65535, the others in proportion, cut where they lie beyond.

    Returns:
        H×W×C, uint8 or uint16, colours in the order red, green, blue(, alpha). A grey file has C = 1, a grey
        picture that is stored as RGB keeps its three channels.

    Raises:
        SegfoldError: the file is missing, is damaged, is too large for OpenCV, has other than 8 or 16 bits, or values
            above ``white``.
        OrientationError: see ``exif``.
    """
    if not is_array(path):
        return finished(in_order(_decode(path, exif)), path, white=white, values=values)
    pixels = read_array(path, frame)
    return finished(pixels[:, :, None] if pixels.ndim == 2 else pixels, path, white=white, values=values)


def finished(
    pixels: np.ndarray, path: Path, *, white: int | None = None, values: tuple[float, float] | None = None
) -> np.ndarray:
    """The numbers in an image's file, or in a window of it, H×W×C, as ``read_image`` gives them."""
    if values is not None:
        return scaled(pixels, *values)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SegfoldError(
            f"{path} holds {pixels.dtype} values, {range_of(pixels)}: expected 8 or 16 bits a channel; set values: [black, white] "
            "in the competition file, the two numbers that become 0 and 65535"
        )
    return pixels if white is None else _full_range(pixels, white, path)


def read_mask(path: Path, *, exif: Exif | None = None, threshold: int = 0, palette: Palette = "colours") -> np.ndarray:
    """Decodes a binary mask.

    Args:
        exif: as of ``read_image``.
        threshold: foreground is above it.
        palette: as of ``mask_values``.

    Returns:
        H×W, uint8 of 0 and 1. A value of 1 in a 16-bit file counts, which it would not after a conversion to 8 bits.

    Raises:
        SegfoldError: as ``read_image``.
    """
    return (mask_values(path, exif=exif, palette=palette) > threshold).astype(np.uint8)


def mask_values(path: Path, *, exif: Exif | None = None, palette: Palette = "colours") -> np.ndarray:
    """The values of a mask file, H×W: of its largest colour (alpha is none), or the indices into its palette.

    Args:
        palette: what is read of a file with a palette.
    """
    pixels = raw_mask(path, exif=exif, palette=palette)
    if not np.issubdtype(pixels.dtype, np.integer):
        if (pixels == np.rint(pixels)).all():
            return pixels.astype(np.int64) if pixels.ndim == 2 else pixels[:, :, :3].max(axis=2).astype(np.int64)
        raise SegfoldError(f"{path} holds {pixels.dtype} values, {range_of(pixels)}: expected whole numbers in a mask")
    return pixels if pixels.ndim == 2 else pixels[:, :, :3].max(axis=2)


def raw_mask(path: Path, *, exif: Exif | None = None, palette: Palette = "colours") -> np.ndarray:
    """What a mask file holds: H×W, or H×W×C in OpenCV's order of colours; see ``mask_values``."""
    return read_array(path) if is_array(path) else _decode(path, exif, indices=palette == "indices")


class Reading(Protocol):
    """How files are to be read, as a competition says it; see ``segfold.competition.Competition``."""

    @property
    def exif(self) -> Exif | None: ...

    @property
    def white(self) -> int | None: ...

    @property
    def mask_threshold(self) -> int: ...

    @property
    def frame(self) -> int | None: ...

    @property
    def values(self) -> tuple[float, float] | None: ...

    @property
    def mask_palette(self) -> Palette | None: ...

    @property
    def mask_colours(self) -> dict[str, tuple[int, int, int]] | None: ...

    @property
    def void(self) -> int | None: ...

    @property
    def task(self) -> Task: ...


def palette_of(reading: Reading) -> Palette:
    """What is read of mask files with a palette."""
    return reading.mask_palette or ("indices" if len(reading.task.classes) > 1 else "colours")


def image_of(reading: Reading, paths: Sequence[Path]) -> np.ndarray:
    """``read_image`` of an image's bands as a competition says.

    Raises:
        SegfoldError: bands of different sizes or types.
    """
    first, *others = bands = [
        read_image(path, exif=reading.exif, white=reading.white, frame=reading.frame, values=reading.values)
        for path in paths
    ]
    for band, path in zip(others, paths[1:]):
        if (band.shape[:2], band.dtype) != (first.shape[:2], first.dtype):
            found, wanted = (f"{part.shape[0]}×{part.shape[1]} of {part.dtype}" for part in (band, first))
            raise SegfoldError(f"{path} is {found}, {paths[0].name} is {wanted}: expected the same of all bands")
    return first if not others else np.concatenate(bands, axis=2)


def _decode(path: Path, exif: Exif | None, indices: bool = False) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error
    by_segments = data.startswith(TIFF) and is_beyond_opencv(data) and (windows := TiffWindows(path)).is_readable
    pixels = in_order(windows.whole()) if by_segments else decoded(data, str(path))
    if indices:
        pixels = _indices(data, path, pixels)
    found = orientation(data)
    # Of a TIFF, decoders make the picture that is to be shown; of other files the one that is stored.
    stored = _turned(pixels, _BACK.get(found, found)) if data.startswith(TIFF) and not by_segments else pixels
    if found != 1 and exif is None:
        raise OrientationError(path, found, (stored.shape[0], stored.shape[1]))
    return _turned(stored, found) if exif == "turn" else stored


def _indices(data: bytes, path: Path, pixels: np.ndarray) -> np.ndarray:
    """The indices into a file's palette, or the pixels of one that has none."""

    def read() -> np.ndarray:
        picture = Image.open(io.BytesIO(data))
        return np.asarray(picture) if picture.mode == "P" else pixels

    try:
        found, _ = overheard(read, lambda printed: False)
    except Exception as error:  # each format has its own
        raise SegfoldError(f"{path} is damaged: its palette cannot be read, copy it anew") from error
    if found.shape[:2] != pixels.shape[:2]:
        raise SegfoldError(f"{path} is damaged: two decoders find pictures of different sizes, copy it anew")
    return found


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As a picture of this EXIF orientation is to be shown."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _full_range(pixels: np.ndarray, white: int, path: Path) -> np.ndarray:
    """Colours of 0…white as colours of the type's whole range; alpha stays."""
    top = np.iinfo(pixels.dtype).max
    count = 3 if pixels.shape[2] == 4 else pixels.shape[2]
    colours = pixels[:, :, :count]
    if white > top or colours.max() > white:
        raise SegfoldError(
            f"{path} holds {pixels.dtype} values up to {colours.max()}, the competition's white is {white}: set it to the "
            "value that is white in these files, or leave it out"
        )
    table = np.rint(np.arange(white + 1) * (top / white)).astype(pixels.dtype)
    return np.concatenate([table[colours], pixels[:, :, count:]], axis=2)
