"""Image files with damaged bytes: refused in silence, or the pixels that another decoder sees in them."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fuzzing import WrongError, counts, fuzz, mutated, some
from segfold.layouts.decode import read_image, read_mask

TOLERANCE = {".jpg": 8}
"""Grey levels by which two decoders of a lossy format may differ."""

FORMATS = {
    "png": (".png", []),
    "png of 16 bits": (".png", []),
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90]),
    "jpeg in passes": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "bmp": (".bmp", []),
    "tiff": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE]),
    "tiff, packed": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE]),
    "tiff, LZW": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW]),
    "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "gif": (".gif", []),
}
BYTES = [bytes([value]) * length for value in (0, 255) for length in (1, 2, 4, 60)] + [
    b"\xff\xd9",
    b"IEND",
    b"\xff\xd8",
]


def pixels(rng: np.random.Generator, name: str) -> np.ndarray:
    """Smooth colours with noise, H×W×3, or H×W of 16 bits."""
    height, width = (int(n) for n in rng.integers(5, 40, 2))
    slope = np.linspace(0, 200, height)[:, None, None] + np.linspace(0, 50, width)[None, :, None]
    values = (slope + rng.integers(0, 6, (height, width, 3))).astype(np.uint8)
    return values[:, :, 0].astype(np.uint16) * 257 if name.endswith("16 bits") else values


def encoded(rng: np.random.Generator, name: str) -> bytes:
    suffix, options = FORMATS[name]
    return cv2.imencode(suffix, pixels(rng, name), options)[1].tobytes()


def by_pillow(data: bytes) -> np.ndarray | None:
    """Pixels as Pillow sees them, H×W×C; None where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = Image.open(io.BytesIO(data))
            picture.load()
            if picture.mode in ("P", "1", "CMYK", "YCbCr", "LA"):
                picture = picture.convert("RGB")
            found = np.asarray(picture)
    except Exception:  # what Pillow raises depends on the format and on where the damage is
        return None
    return found if found.ndim == 3 else found[:, :, None]


def compare(found: np.ndarray, data: bytes, before: np.ndarray, suffix: str, what: str) -> None:
    """Accepted pixels are those before the damage, or those that Pillow sees."""
    if np.array_equal(found, before):
        return
    other = by_pillow(data)
    if other is None:
        raise WrongError(f"{what}: accepted as {found.shape}, other pixels than before; Pillow refuses it")
    if other.shape[:2] != found.shape[:2]:
        raise WrongError(f"{what}: accepted as {found.shape}, Pillow sees {other.shape}")
    # One library shows palettes and grey as colours, the other does not.
    channels = min(found.shape[2], other.shape[2], 3)
    left, right = (part[:, :, :channels].astype(int) for part in (found, other))
    if np.abs(left - right).max() > TOLERANCE.get(suffix, 0):
        raise WrongError(
            f"{what}: {int((left != right).sum())} values differ from Pillow's, up to {np.abs(left - right).max()}"
        )


@counts
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_images(name: str, count: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    suffix, _ = FORMATS[name]
    if not cv2.haveImageWriter(f"a{suffix}"):
        pytest.skip(f"this OpenCV writes no {suffix}")
    path, whole = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"

    def case(rng: np.random.Generator) -> None:
        data = encoded(rng, name)
        whole.write_bytes(data)
        before = read_image(whole)
        compare(before, data, np.zeros(0), suffix, "undamaged")
        damaged = data if rng.random() < 0.05 else mutated(data, rng, BYTES)
        if rng.random() < 0.2:
            damaged = damaged[: int(rng.integers(len(damaged) + 1))] + some(rng, [b"", b"\xff\xd9", bytes(100)])
        path.write_bytes(damaged)
        found = read_image(path)
        where = next((at for at, (a, b) in enumerate(zip(data, damaged)) if a != b), min(len(data), len(damaged)))
        compare(found, damaged, before, suffix, f"{before.shape}, damaged from byte {where} of {len(data)}")
        mask = read_mask(path)
        if not np.array_equal(mask, (found[:, :, :3].max(axis=2) > 0).astype(np.uint8)):
            raise WrongError("a mask that is not where its colours are above 0")

    capfd.readouterr()
    fuzz(count // 4 if count > 100 else count // 3, name, case)
    printed = capfd.readouterr().err
    assert not printed, f"libraries say on the standard error: {printed[:300]}"
