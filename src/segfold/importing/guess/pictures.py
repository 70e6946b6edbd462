"""What a sample of image files holds: sizes, channels, bits, formats, ranges, EXIF orientations."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segfold.errors import SegfoldError, one_line
from segfold.importing.guess.headers import Header, read_header
from segfold.layouts.ahead import map_files
from segfold.layouts.arrays import is_array, read_array
from segfold.layouts.decode import read_image
from segfold.layouts.large import LargeSize
from segfold.layouts.tags import orientation

SECONDS = 6.0  # for a sample
_FEW = (1, 3, 4)  # channels of pictures
_WINDOW = 1024  # pixels a side of the part that is read of a large image
_HEAD_BYTES = 1 << 20  # in which the orientation stands


@dataclass
class Pictures:
    """Facts of the images that were read.

    Attributes:
        shapes: height and width of each, as stored, by its path.
        kinds: how many have so many channels of a type: ``3×uint8``.
        exif: orientations other than 1, by path.
        low: smallest number.
        high: largest number, alpha aside.
        last: lengths of the last axis of arrays H×W×T.
        large: those that are too large for a whole read, of which a window is read at most.
        problems: a line for each file that cannot be read.
    """

    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    exif: dict[str, int] = field(default_factory=dict)
    low: float = np.inf
    high: float = -np.inf
    last: Counter[int] = field(default_factory=Counter)
    large: list[LargeSize] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def span(self) -> str:
        """The numbers that were found, for people."""
        return f"{self.low:g} to {self.high:g}" if self.low <= self.high else "not read"

    @property
    def is_plain(self) -> bool:
        """Whether all have 8 or 16 bits a channel."""
        return set(self.types) <= {"uint8", "uint16"}


def look_at(files: dict[str, Path]) -> Pictures:
    """Reads a sample of files, by their paths."""
    facts = Pictures()

    def read(item: tuple[str, Path]) -> _Read | str:
        name, path = item
        try:
            header = read_header(path)
            if header is not None and (large := header.large) is not None:
                return _part_of(name, path, header, large)
            if is_array(path):
                return _Read(name, read_array(path))
            return _Read(name, read_image(path, exif="ignore"), orientation(path.read_bytes()))
        except SegfoldError as error:
            return one_line(str(error)).replace(str(path), name)

    for found in map_files(read, files.items()):
        if isinstance(found, str):
            facts.problems.append(found)
            continue
        pixels = found.pixels
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        facts.shapes[found.name] = found.shape or (pixels.shape[0], pixels.shape[1])
        facts.kinds[f"{channels}×{pixels.dtype}"] += 1
        facts.types[str(pixels.dtype)] += 1
        if found.turned != 1:
            facts.exif[found.name] = found.turned
        if found.large is not None:
            facts.large.append(found.large)
        if pixels.ndim == 3 and channels not in _FEW:
            facts.last[channels] += 1
        colours = pixels[..., :3] if channels == 4 else pixels
        if (finite := colours[np.isfinite(colours)]).size:
            facts.low = min(facts.low, float(finite.min()))
            facts.high = max(facts.high, float(finite.max()))
    return facts


class _Read(NamedTuple):
    """What was read of a file; ``shape`` is of the whole image where ``pixels`` are not."""

    name: str
    pixels: np.ndarray
    turned: int = 1
    shape: tuple[int, int] | None = None
    large: LargeSize | None = None


def _part_of(name: str, path: Path, header: Header, large: LargeSize) -> _Read:
    """A window in the middle of a large image, or no pixels where none can be read without the rest."""
    shape = (header.height, header.width)
    if header.windows is None:
        with path.open("rb") as file:
            turned = orientation(file.read(_HEAD_BYTES))
        return _Read(name, np.zeros((0, 0, header.channels), header.dtype), turned, shape, large)
    height, width = (min(side, _WINDOW) for side in shape)
    pixels = header.windows.window((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)
    return _Read(name, pixels, header.windows.orientation, shape, large)


def sizes(shapes: Iterable[tuple[int, int]]) -> str:
    """One size, or a range."""
    found = sorted(set(shapes))
    if not found:
        return "none"
    if len(found) == 1:
        return f"{found[0][0]}×{found[0][1]}"
    heights, widths = zip(*found)
    if len(found) <= 3:
        return ", ".join(f"{height}×{width}" for height, width in found)
    return f"{min(heights)}…{max(heights)}×{min(widths)}…{max(widths)} ({len(found)} sizes)"


def spread(names: Iterable[str], most: int) -> list[str]:
    """Some names from all over a list."""
    every = list(names)
    places: np.ndarray | list[int] = (
        np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).astype(int)) if every else []
    )
    return [every[place] for place in places]
