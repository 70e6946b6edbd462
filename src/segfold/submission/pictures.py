"""Masks as palette PNGs in a zip, the same bytes each time that they are made of the same masks."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image

from segfold.tasks import Mask

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip knows
_READABLE = 0o100644 << 16
_UNIX = 3


def voc_colours() -> np.ndarray:
    """The colours that Pascal VOC draws its classes in, 256×3 uint8.

    The lowest three bits of an index are the highest bits of red, green and blue, the next three the bits below those,
    and so on; neighbouring indices so differ much.

    Example:
        >>> voc_colours()[[1, 2, 3, 8, 255]].tolist()
        [[128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0], [224, 224, 192]]
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        channel, place = bit % 3, 7 - bit // 3
        colours[:, channel] |= (index >> bit & 1) << place
    return colours.astype(np.uint8)


def picture(mask: Mask) -> bytes:
    """A PNG of H×W uint8 indices with VOC's colours."""
    image = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    image.putpalette(voc_colours().tobytes())
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip of files by their names, sorted."""
    data = io.BytesIO()
    # PNGs are compressed already.
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _TIME)
            info.external_attr, info.create_system = _READABLE, _UNIX
            archive.writestr(info, members[name])
    return data.getvalue()
