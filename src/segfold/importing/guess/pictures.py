"""What a sample of image files holds: sizes, channels, bits, formats, ranges, EXIF orientations."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segfold.errors import SegfoldError, one_line
from segfold.layouts.ahead import map_files
from segfold.layouts.arrays import is_array, read_array
from segfold.layouts.decode import read_image
from segfold.layouts.tags import orientation

SECONDS = 6.0  # for a sample
_FEW = (1, 3, 4)  # channels of pictures


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
        problems: a line for each file that cannot be read.
    """

    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    exif: dict[str, int] = field(default_factory=dict)
    low: float = np.inf
    high: float = -np.inf
    last: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether all have 8 or 16 bits a channel."""
        return set(self.types) <= {"uint8", "uint16"}


def look_at(files: dict[str, Path]) -> Pictures:
    """Reads a sample of files, by their paths."""
    facts = Pictures()

    def read(item: tuple[str, Path]) -> tuple[str, np.ndarray, int] | str:
        name, path = item
        try:
            if is_array(path):
                return name, read_array(path), 1
            return name, read_image(path, exif="ignore"), orientation(path.read_bytes())
        except SegfoldError as error:
            return one_line(str(error)).replace(str(path), name)

    for found in map_files(read, files.items()):
        if isinstance(found, str):
            facts.problems.append(found)
            continue
        name, pixels, turned = found
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        facts.shapes[name] = (pixels.shape[0], pixels.shape[1])
        facts.kinds[f"{channels}×{pixels.dtype}"] += 1
        facts.types[str(pixels.dtype)] += 1
        if turned != 1:
            facts.exif[name] = turned
        if pixels.ndim == 3 and channels not in _FEW:
            facts.last[channels] += 1
        colours = pixels[..., :3] if channels == 4 else pixels
        if (finite := colours[np.isfinite(colours)]).size:
            facts.low = min(facts.low, float(finite.min()))
            facts.high = max(facts.high, float(finite.max()))
    return facts


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
