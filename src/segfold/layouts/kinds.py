"""Whether the images of a split are of one kind, as a network needs them, and how nearly equal ones become so."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segfold.layouts.table import shorten

_BAND_VALUES = 1 << 24  # that are converted at once


@dataclass(frozen=True)
class Kind:
    """What an image file holds. ``opaque``: its fourth channel is of one value. ``largest``: of its colours' values."""

    channels: int
    dtype: str
    opaque: bool = False
    largest: int = 0

    def __str__(self) -> str:
        return f"{self.channels}×{self.dtype}"


class Seen:
    """What is seen of an image that is read band by band.

    Attributes:
        kind: what it holds.
        size: height so far, and width.
        constant: whether all pixels are the same.
    """

    def __init__(self) -> None:
        self._first: np.ndarray | None = None
        self.kind = Kind(0, "")
        self.size = (0, 0)
        self.constant = True

    def add(self, band: np.ndarray) -> None:
        """
        Args:
            band: rows of the image, h×W×C.
        """
        if self._first is None:
            self._first = band[0, 0].copy()
            self.kind = Kind(band.shape[2], str(band.dtype), band.shape[2] == 4)
        self.size = self.size[0] + band.shape[0], band.shape[1]
        opaque = self.kind.opaque and bool((band[:, :, 3] == self._first[3]).all())
        largest = max(self.kind.largest, int(band[:, :, :3].max()))
        self.kind = replace(self.kind, opaque=opaque, largest=largest)
        self.constant = self.constant and bool((band == self._first).all())


@dataclass(frozen=True)
class CommonKind:
    """What the images of a split have in common once they are converted.

    Attributes:
        channels: of all images.
        dtype: of all images.
        problems: a line for each image that cannot become so, by its name.
        notes: a line for what is converted, and for what looks wrong but may be meant.
    """

    channels: int
    dtype: str
    problems: Mapping[str, str]
    notes: list[str]

    def __str__(self) -> str:
        return f"{self.channels}×{self.dtype}"


def common_kind(kinds: Mapping[str, Kind], white: int | None = None) -> CommonKind:
    """One kind for all images: alpha is left out where no image has any, grey becomes RGB where others are RGB.

    Args:
        kinds: by names of images, at least one.
        white: the competition's.
    """
    alpha = [name for name, kind in kinds.items() if kind.channels == 4]
    left_out = alpha if all(kinds[name].opaque for name in alpha) else []
    channels = {name: 3 if name in set(left_out) else kind.channels for name, kind in kinds.items()}
    grey = [name for name, count in channels.items() if count == 1]
    grey = grey if 3 in channels.values() else []
    channels.update(dict.fromkeys(grey, 3))
    usual, dtype = Counter((channels[name], kind.dtype) for name, kind in kinds.items()).most_common(1)[0][0]
    problems = {
        name: f"{kind}, most images are {usual}×{dtype}"
        for name, kind in kinds.items()
        if (channels[name], kind.dtype) != (usual, dtype)
    }
    notes = []
    if left_out:
        notes.append(f"alpha is the same all over each image that has it ({_named(left_out)}) and is left out")
    if grey:
        notes.append(f"grey among colours: {_named(grey)} became RGB")
    largest, top = max(kind.largest for kind in kinds.values()), int(np.iinfo(dtype).max)
    if white is None and 0 < 4 * largest <= top:
        notes.append(
            f"no value is above {largest} of {top}, so a network sees {largest / top:.1%} of the range: set white: "
            f"{(1 << largest.bit_length()) - 1} in the competition file if that is white in these files"
        )
    return CommonKind(usual, dtype, problems, notes)


def converted(image: np.ndarray, channels: int) -> np.ndarray:
    """An image, H×W×C, with the common number of channels."""
    return image.repeat(channels, axis=2) if image.shape[2] < channels else image[:, :, :channels]


def convert_file(path: Path, shapes: Iterable[tuple[int, ...]], common: CommonKind) -> None:
    """Converts a flat file of images one after the other."""
    part = path.with_suffix(".converted")
    with path.open("rb") as old, part.open("wb") as new:
        for height, width, channels in shapes:
            rows = max(1, _BAND_VALUES // (width * channels))
            for top in range(0, height, rows):
                shape = (min(rows, height - top), width, channels)
                pixels = np.fromfile(old, common.dtype, int(np.prod(shape)))
                new.write(np.ascontiguousarray(converted(pixels.reshape(shape), common.channels)).data)
        new.flush()
        os.fsync(new.fileno())
    part.replace(path)


def _named(names: list[str]) -> str:
    return f"{len(names)}: {shorten(names, 3)}"
