"""What a sample of mask files holds: 0 and one value, indices with or without a palette, colours."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from segfold.errors import SegfoldError, one_line
from segfold.importing.guess.headers import read_header
from segfold.layouts.arrays import is_array
from segfold.layouts.decode import raw_mask

_SECONDS = 4.0
_MOST_COLOURS = 64
VOID = 255


@dataclass
class MaskFacts:
    """Facts of the masks that were read.

    Attributes:
        read: how many were.
        empty: how many have no pixel but of the value 0.
        shapes: height and width of each, by path.
        values: pixels of each value, or of each colour where they have several channels that differ.
        palettes: colours of the indices, of files with a palette.
        near: share of pixels near black or white.
        fractions: whether numbers are not whole.
        problems: a line for each file that cannot be read.
    """

    read: int = 0
    empty: int = 0
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    values: Counter[int] = field(default_factory=Counter)
    colours: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    palettes: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    near: float = 1.0
    deep: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def kind(self) -> Literal["none", "binary", "blurred", "indices", "greys", "colours", "picture"]:
        """What the values are.

        ``blurred`` masks are black and white with what JPEG, or a soft brush, leaves in between; ``greys`` name
        classes by levels far apart; a ``picture`` is no mask.
        """
        if not self.read:
            return "none"
        if len(self.colours) > _MOST_COLOURS:
            return "picture"
        if self.colours:
            black = (0, 0, 0)
            return "binary" if len(self.colours) <= 2 and black in self.colours else "colours"
        found = sorted(self.values)
        if len([value for value in found if value]) <= 1:
            return "binary"
        if len(found) > 3 and self.near > 0.97 and found[-1] > 200 and not self.palettes:
            return "blurred"
        inside = [value for value in found if value != VOID] if not self.deep else found
        if inside[-1] + 1 <= max(3 * len(inside) + 2, 12) or self.palettes:
            return "indices"
        return "greys" if len(found) <= _MOST_COLOURS else "picture"

    @property
    def void(self) -> int | None:
        """The value of pixels that do not count, of indices."""
        return VOID if self.kind == "indices" and VOID in self.values else None

    @property
    def top(self) -> int:
        """The largest index."""
        return max(value for value in self.values if value != self.void)

    @property
    def shows_background(self) -> bool:
        """Whether a palette gives index 0 a colour, by which reading its colours finds foreground everywhere."""
        return any(self.palettes.get(0, ()))


def look_at_masks(files: dict[str, Path]) -> MaskFacts:
    """Reads mask files, by their paths, until some seconds are over."""
    facts = MaskFacts()
    near = total = 0
    start = time.monotonic()
    for name, path in files.items():
        if facts.read and time.monotonic() - start > _SECONDS:
            break
        if facts.read and (header := read_header(path)) is not None and header.large is not None:
            continue  # one that is too large for a whole read is read if there is no other, and says enough
        try:
            pixels = raw_mask(path, exif="ignore", palette="indices")
        except SegfoldError as error:
            facts.problems.append(one_line(str(error)).replace(str(path), name))
            continue
        if not np.issubdtype(pixels.dtype, np.integer):
            if (pixels != np.rint(pixels)).any():
                facts.problems.append(f"{name} holds numbers that are not whole: no mask")
                continue
            pixels = pixels.astype(np.int64)
        facts.read += 1
        facts.shapes[name] = (pixels.shape[0], pixels.shape[1])
        facts.palettes |= _palette(path)
        facts.deep |= pixels.dtype != np.uint8
        if pixels.ndim == 3 and pixels.shape[2] >= 3 and (pixels[..., :3] != pixels[..., :1]).any():
            _count_colours(facts, pixels[..., 2::-1])
            facts.empty += not pixels[..., :3].any()
            continue
        values = pixels if pixels.ndim == 2 else pixels[..., :3].max(axis=2)
        facts.empty += not values.any()
        found, counts = np.unique(values, return_counts=True)
        facts.values.update(dict(zip(found.tolist(), counts.tolist())))
        near += int(counts[(found < 32) | (found > 223)].sum())
        total += values.size
    if facts.colours:  # a mask of one grey among coloured ones
        for value, count in facts.values.items():
            facts.colours[value, value, value] += count
    facts.near = near / total if total else 1.0
    return facts


def _count_colours(facts: MaskFacts, pixels: np.ndarray) -> None:
    if len(facts.colours) <= _MOST_COLOURS:
        codes = pixels.reshape(-1, 3).astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])
        for code, count in zip(*(part.tolist() for part in np.unique(codes, return_counts=True))):
            facts.colours[code >> 32, code >> 16 & 0xFFFF, code & 0xFFFF] += count


def _palette(path: Path) -> dict[int, tuple[int, int, int]]:
    """Colours of a file's palette, by index."""
    if is_array(path):
        return {}
    try:
        with Image.open(path) as picture:
            colours = picture.getpalette() if picture.mode == "P" else None
    except Exception:  # each format has its own; what matters is said where the mask is read
        return {}
    return {} if colours is None else {at // 3: tuple(colours[at : at + 3]) for at in range(0, len(colours), 3)}  # type: ignore[misc]
