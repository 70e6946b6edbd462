"""Image and mask files to arrays: 8 or 16 bits and any channel count are kept, masks are read with ``>
0``."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from segfold.data import damage
from segfold.data.messages import overheard
from segfold.errors import SegfoldError

_CHUNK = 256  # files decoded ahead of their consumer: memory stays flat as sets grow

# Of what is printed at this level, damage is found in a TIFF; who asked for less hears nothing of it either way.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_image(path: Path) -> np.ndarray:
    """Decodes an image.

    Returns:
        H×W×C, uint8 or uint16, colours in the order red, green, blue(, alpha). A grey file has C = 1, a grey
        picture that is stored as RGB keeps its three channels.

    Raises:
        SegfoldError: the file is missing, is damaged, is too large for OpenCV, or has other than 8 or 16 bits.
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
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while chunk := list(islice(remaining, _CHUNK)):
            yield from pool.map(function, chunk)


def _decode(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error
    # OpenCV's versions differ in what they make of a damaged PNG (nothing, or half a picture), so its own
    # checksums decide.
    if reason := damage.found_in(data) if data else "it is empty":
        raise SegfoldError(f"{path} is damaged: {reason}, copy it anew")
    (pixels, refusal), printed = overheard(lambda: _pixels(data))
    if "CV_IO_MAX_IMAGE" in refusal + printed or "exceeds user limit" in printed:
        raise SegfoldError(
            f"{path} is larger than OpenCV reads (2^30 pixels, and 10^6 a side): cut the images into parts, or set "
            "OPENCV_IO_MAX_IMAGE_PIXELS in the environment if there is memory enough"
        )
    if reason := damage.found_by_decoder(printed):
        raise SegfoldError(f"{path} is damaged: {reason}, copy it anew, or save it anew if it looks right")
    if pixels is None:
        raise SegfoldError(f"{path} cannot be decoded: expected an image file")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SegfoldError(f"{path} holds {pixels.dtype} values: expected 8 or 16 bits a channel")
    return pixels


def _pixels(data: bytes) -> tuple[np.ndarray | None, str]:
    """What OpenCV makes of a file, or why it makes nothing of it."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), ""
    except cv2.error as error:
        return None, str(error)
