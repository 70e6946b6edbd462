"""Images and masks in files of numbers: NumPy's ``.npy``, and DICOM."""

from pathlib import Path

import numpy as np

from segfold.errors import SegfoldError

_DICOM = (".dcm", ".dicom")
_FEW = (1, 3, 4)  # channels of a picture


def is_array(path: Path) -> bool:
    """Whether a file is read here, by its suffix."""
    return path.suffix.lower() in (".npy", *_DICOM)


def read_array(path: Path, frame: int | None = None) -> np.ndarray:
    """The numbers of a file.

    Args:
        frame: index that is taken of the last axis.

    Returns:
        H×W, or H×W×C; truths as uint8 of 0 and 1.

    Raises:
        SegfoldError: the file is missing, damaged or no picture, or has no such frame.
    """
    try:
        array = _dicom(path) if path.suffix.lower() in _DICOM else np.load(path, allow_pickle=False)
    except SegfoldError:
        raise
    except OSError as error:
        if error.strerror is None:
            raise SegfoldError(f"{path} is damaged: {error}, copy it anew") from error
        raise SegfoldError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # each format has its own
        raise SegfoldError(f"{path} cannot be decoded ({error or type(error).__name__}): copy it anew") from error
    if frame is not None:
        if array.ndim < 3 or not frame < array.shape[-1]:
            raise SegfoldError(
                f"{path} is {_size(array)}: expected more than {frame} frames on the last axis (frame: {frame})"
            )
        array = array[..., frame]
    array = array.astype(np.uint8) if array.dtype == bool else array
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in _FEW and array.shape[2] not in _FEW:
        array = np.moveaxis(array, 0, 2)  # channels first
    if array.ndim not in (2, 3) or not array.size or not np.issubdtype(array.dtype, np.number):
        raise SegfoldError(
            f"{path} holds {_size(array)} of {array.dtype}: expected height×width, or height×width×channels (frame: takes an "
            "index of the last axis)"
        )
    return np.ascontiguousarray(array)


def _size(array: np.ndarray) -> str:
    return "×".join(map(str, array.shape)) or "one number"


def _dicom(path: Path) -> np.ndarray:
    """The picture of a DICOM file: black is low, whatever the file says of it."""
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise SegfoldError(f"{path} is a DICOM file: run `pip install pydicom`") from error
    data = pydicom.dcmread(path)
    pixels = data.pixel_array
    if data.get("PhotometricInterpretation") == "MONOCHROME1":
        return np.asarray((1 << int(data.BitsStored)) - 1 - pixels, pixels.dtype)
    return pixels


def scaled(pixels: np.ndarray, black: float, white: float) -> np.ndarray:
    """Numbers as 16 bits: ``black`` and less is 0, ``white`` and more 65535; what is no number is 0."""
    share = (pixels.astype(np.float32) - np.float32(black)) / np.float32(white - black)
    return np.rint(np.nan_to_num(share, nan=0.0).clip(0, 1) * 65535).astype(np.uint16)


def range_of(pixels: np.ndarray) -> str:
    """Smallest and largest number, for messages."""
    finite = pixels[np.isfinite(pixels)]
    return f"{finite.min():g} to {finite.max():g}" if finite.size else "none"
