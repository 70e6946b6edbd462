"""The bytes of an image file to pixels, by OpenCV, and what it leaves out: whether the file is damaged."""

import re

import cv2
import numpy as np
from PIL import Image

from segfold.errors import SegfoldError
from segfold.layouts import damage
from segfold.layouts.messages import overheard
from segfold.layouts.tags import TIFF, page_count

# Of what is printed at this level, damage is found in a TIFF; who asked for less hears nothing of it either way.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)

Image.MAX_IMAGE_PIXELS = None  # OpenCV has a limit of its own, and has read what Pillow is asked for

_TOO_LARGE = re.compile("CV_IO_MAX_IMAGE|exceeds user limit")  # as OpenCV and libpng say it


def decoded(data: bytes, what: str) -> np.ndarray:
    """What a file holds.

    Args:
        data: the whole file.
        what: names it in messages.

    Returns:
        H×W, or H×W×C in OpenCV's order of colours. Grey pages of a TIFF are channels of one picture.

    Raises:
        SegfoldError: it is damaged, too large for OpenCV, or no image.
    """
    # OpenCV's versions differ in what they make of a damaged PNG (nothing, or half a picture), so its own
    # checksums decide.
    if reason := damage.found_in(data) if data else "it is empty":
        raise SegfoldError(f"{what} is damaged: {reason}, copy it anew")
    (pixels, refusal), printed = overheard(lambda: _pixels(data), _matters)
    if _TOO_LARGE.search(refusal + printed):
        raise SegfoldError(
            f"{what} is larger than OpenCV reads (2^30 pixels, and 10^6 a side): save it as a tiled TIFF, which is read by "
            "windows, cut the images into parts, or set OPENCV_IO_MAX_IMAGE_PIXELS in the environment if there is memory "
            "enough"
        )
    if reason := damage.found_by_decoder(printed):
        raise SegfoldError(f"{what} is damaged: {reason}, copy it anew, or save it anew if it looks right")
    if pixels is None:
        raise SegfoldError(f"{what} cannot be decoded: expected an image file")
    return pixels


def in_order(pixels: np.ndarray) -> np.ndarray:
    """H×W, or H×W×C in OpenCV's order of colours, as H×W×C in the order red, green, blue(, alpha)."""
    if pixels.ndim == 2:
        return pixels[:, :, None]
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    return pixels


def _matters(printed: str) -> bool:
    return bool(_TOO_LARGE.search(printed) or damage.found_by_decoder(printed))


def _pixels(data: bytes) -> tuple[np.ndarray | None, str]:
    """What OpenCV makes of a file, or why it makes nothing of it."""
    buffer = np.frombuffer(data, np.uint8)
    try:
        if data.startswith(TIFF) and page_count(data) > 1:
            _, pages = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED)
            if len({(page.shape, page.dtype) for page in pages}) == 1 and pages[0].ndim == 2:
                order = [2, 1, 0, *range(3, len(pages))] if len(pages) in (3, 4) else range(len(pages))
                return np.dstack([pages[place] for place in order]), ""  # three in OpenCV's order of colours
        return cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED), ""
    except cv2.error as error:
        return None, str(error)
