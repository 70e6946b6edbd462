"""Image and mask files to arrays: 8 or 16 bits and any channel count are kept, masks are read with ``>
0``."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from segfold.cores import cores
from segfold.errors import SegfoldError

_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNK = 256  # files decoded ahead of their consumer: memory stays flat as sets grow

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_image(path: Path) -> np.ndarray:
    """Decodes an image.

    Returns:
        H×W×C, uint8 or uint16, colours in the order red, green, blue(, alpha). A grey file has C = 1, a grey
        picture that is stored as RGB keeps its three channels.

    Raises:
        SegfoldError: the file is missing, is damaged, or has other than 8 or 16 bits.
    """
    pixels = _decode(path)
    if pixels.ndim == 2:
        return pixels[:, :, None]
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    return pixels


def read_mask(path: Path) -> np.ndarray:
    """Decodes a binary mask.

    Returns:
        H×W, uint8, 1 where any colour is above 0 (alpha is no colour). A value of 1 in a 16-bit file counts,
        which it would not after a conversion to 8 bits.

    Raises:
        SegfoldError: as `read_image`.
    """
    pixels = _decode(path)
    if pixels.ndim == 3:
        pixels = pixels[:, :, :3].max(axis=2)
    return (pixels > 0).astype(np.uint8)


def map_files(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` on one thread a core (OpenCV decodes without the GIL), in order, a few hundred files ahead."""
    remaining = iter(items)
    with ThreadPoolExecutor(cores()) as pool:
        while chunk := list(islice(remaining, _CHUNK)):
            yield from pool.map(function, chunk)


def _decode(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error
    # OpenCV's versions differ in what they make of a damaged PNG (nothing, or half a picture), so its own
    # checksums decide.
    if not data or (data.startswith(_PNG) and not _whole_png(data)):
        raise SegfoldError(f"{path} is damaged: it is cut short or its checksum is wrong, copy it anew")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise SegfoldError(f"{path} cannot be decoded: expected an image file")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SegfoldError(f"{path} holds {pixels.dtype} values: expected 8 or 16 bits a channel")
    return pixels


def _whole_png(data: bytes) -> bool:
    """Whether all chunks of a PNG are there with the checksums that the file gives (RFC 2083, section 3)."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        end = at + 8 + length
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big") or end + 4 > len(data):
            return False
        if kind == b"IEND":
            return True
        at = end + 4
    return False
