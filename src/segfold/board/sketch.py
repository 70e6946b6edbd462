"""A few pixels of each image that a fold has predicted: enough to tell how two runs correlate, in thousandths of the bytes.

Which pixels they are follows from the image's id and size alone, so runs that predict the same image are compared on the
same pixels, whatever folds they have and whenever they were sketched.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segfold.files import write_atomic
from segfold.store import MeanStore, Probabilities, ProbabilityStore

PIXELS = 8
"""Of each image and class."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Sketch:
    """What a fold predicts of the chosen pixels.

    Attributes:
        keys: (N,) uint64, of each image's id and size; sorted.
        areas: (N,) pixels of each image: how much a chosen one stands for.
        codes: (N, C·PIXELS) of the store, class by class.
    """

    keys: npt.NDArray[np.uint64]
    areas: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint16]


def chosen_pixels(keys: npt.NDArray[np.uint64], areas: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N, PIXELS) places of pixels in each image, row by row: one at random in each of so many stretches of equal length."""
    with np.errstate(over="ignore"):
        mixed = keys[:, None] + _GOLDEN * np.arange(1, PIXELS + 1, dtype=np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    share = (np.arange(PIXELS) + (mixed >> np.uint64(11)) / 2.0**53) / PIXELS
    return np.minimum((share * areas[:, None]).astype(np.int64), areas[:, None] - 1)


def image_keys(ids: Sequence[str], shapes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """A number that stands for each image.

    Args:
        shapes: (N, 3) classes, height and width.
    """
    texts = (f"{height}x{width} {name}".encode() for name, (_, height, width) in zip(ids, shapes.tolist()))
    return np.array([int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in texts], np.uint64)


def sketch_of(store: Probabilities) -> Sketch:
    """The chosen pixels of all images of a store; only these are read.

    Raises:
        OSError: a file is not there any more.
        ValueError: a file is shorter than its table says.
    """
    keys, shapes = image_keys([str(name) for name in store.ids], store.shapes), store.shapes
    classes, areas = shapes[:, 0], shapes[:, 1] * shapes[:, 2]
    order = np.argsort(keys)
    if not len(order):
        return Sketch(keys, areas, np.zeros((0, 0), np.uint16))
    # C×H×W: a class lies an area after the one before.
    within = chosen_pixels(keys, areas)[:, None] + (areas[:, None] * np.arange(classes.max()))[:, :, None]
    codes = _codes(store, within.reshape(len(keys), -1))
    return Sketch(keys[order], areas[order], codes[order])


def _codes(store: Probabilities, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Codes at (N, K) places within the images of a store."""
    if isinstance(store, MeanStore):
        count = len(store.stores)
        total = sum((_codes(each, places).astype(np.uint32) for each in store.stores), np.zeros((), np.uint32))
        return ((2 * total + count) // (2 * count)).astype(np.uint16)
    assert isinstance(store, ProbabilityStore)
    mapped = np.memmap(store.path, "<u2", mode="r")
    try:
        return np.asarray(mapped[store.table.offsets[:, None] + places], np.uint16)
    except IndexError:
        raise ValueError(f"{store.path} is shorter than its table says") from None


def write_sketch(path: Path, sketch: Sketch) -> None:
    """Writes a sketch, whole or not at all."""
    with write_atomic(path) as file:
        np.savez_compressed(file, keys=sketch.keys, areas=sketch.areas, codes=sketch.codes)


def read_sketch(path: Path) -> Sketch:
    """What ``write_sketch`` wrote; errors as those of numpy."""
    with np.load(path) as found:
        return Sketch(found["keys"], found["areas"], found["codes"])
