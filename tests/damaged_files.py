"""Pictures in the formats that OpenCV reads, written by Pillow, and ways in which their files come to harm."""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

WRITERS: dict[str, dict] = {
    "jpeg": {"format": "JPEG", "quality": 90},
    "jpeg-progressive": {"format": "JPEG", "quality": 70, "progressive": True},
    "jpeg-restarts": {"format": "JPEG", "quality": 80, "restart_marker_rows": 1},
    "tiff": {"format": "TIFF"},
    "tiff-lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "tiff-deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "tiff-packbits": {"format": "TIFF", "compression": "packbits"},
    "tiff-jpeg": {"format": "TIFF", "compression": "jpeg"},
    "bmp": {"format": "BMP"},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP", "quality": 95},
    "webp-lossless": {"format": "WEBP", "lossless": True},
    "png": {"format": "PNG"},
}


def picture(rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """A random picture of a random size: noise, smooth, or patches with a little noise."""
    height, width = rng.integers(40, 140, 2)
    noise = rng.normal(size=(height, width, channels))
    match rng.integers(3):
        case 0:
            values = 128 + 60 * noise
        case 1:
            smooth = cv2.GaussianBlur(noise, (0, 0), 6).reshape(noise.shape)
            values = 255 * (smooth - smooth.min()) / np.ptp(smooth)
        case _:
            values = 4 * noise
            for top, left in rng.integers(0, (height, width), (12, 2)):
                values[top : top + rng.integers(4, 60), left : left + rng.integers(4, 60)] = rng.integers(256)
    return values.clip(0, 255).astype(np.uint8)


def written(pixels: np.ndarray, writer: str, **options: object) -> bytes:
    """The file of a picture, H×W×C."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, **{**WRITERS[writer], **options})
    return file.getvalue()


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(data) // 5, len(data) // 2))
    return data[:start] + data[start + len(data) * 3 // 10 :]


def _zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    start, length = int(rng.integers(len(data) // 5, len(data) // 2)), len(data) // 4
    return data[:start] + bytes(length) + data[start + length :]


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "half": lambda data, rng: data[: len(data) // 2],
    "half and the end": lambda data, rng: data[: len(data) // 2] + data[-2:],  # of a JPEG, its end marker
    "cut": _cut,
    "zeroed": _zeroed,
}

UNSEEN = {(writer, "zeroed") for writer in ("tiff", "tiff-packbits", "bmp", "webp-lossless")}
"""Pixels as they are, where zeros are black, and codes without a checksum in which zeros are pixels."""
