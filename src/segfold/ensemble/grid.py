"""The thresholds and smallest components that are tried, and which of them may be chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.post.threshold import threshold_code

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(20, 81))
AREAS: tuple[int, ...] = (0, 5, 10, 20, 40, 60, 80, 100)
LARGER_AREAS = 12
"""How many areas are tried above those: their number, and so the memory of the scores, does not grow with the masks."""


def areas_up_to(largest: int) -> list[int]:
    """``AREAS``, and in equal ratios above them up to ``largest`` pixels, rounded down to two digits."""
    steps = np.geomspace(AREAS[-1], max(largest, AREAS[-1]), LARGER_AREAS + 1).round(6)
    return sorted({*AREAS, *(_two_digits(int(step)) for step in steps)})


def _two_digits(number: int) -> int:
    unit = 10 ** max(len(str(number)) - 2, 0)
    return number // unit * unit


@dataclass(frozen=True)
class Grid:
    """What is scored.

    Attributes:
        thresholds: (T,) probabilities of increasing codes, one of them with the code of 0.5.
        areas: (A,) increasing, in pixels, the first of them 0.
        allowed: T×A, what may be chosen; the rest is scored for the plain score alone.
    """

    thresholds: Sequence[float]
    areas: Sequence[int]
    allowed: npt.NDArray[np.bool_]

    @classmethod
    def whole(cls, thresholds: Sequence[float] = THRESHOLDS, areas: Sequence[int] = AREAS) -> "Grid":
        """All of it may be chosen."""
        return cls(thresholds, areas, np.ones((len(thresholds), len(areas)), bool))

    @classmethod
    def of(cls, largest: int, pixels: int, threshold: float | None = None, min_area: int | None = None) -> "Grid":
        """The grid of a search.

        Args:
            largest: foreground pixels of the fullest true mask; no smallest component above it is tried.
            pixels: of the largest image.
            threshold: the only one that may be chosen, if not None.
            min_area: the only one that may be chosen, if not None.

        Raises:
            SegfoldError: a threshold that is no probability above 0, or a smallest component that no image can hold.
        """
        if threshold is not None and not 0 < threshold <= 1:
            raise SegfoldError(f"--threshold {threshold}: expected a probability above 0 and up to 1")
        if min_area is not None and not 0 <= min_area <= pixels:
            raise SegfoldError(f"--min-area {min_area}: expected 0 to {pixels} pixels, the size of the largest image")
        # Thresholds of one code are one threshold; what was asked for keeps its own digits.
        values = {threshold_code(value): value for value in ((0.5,) if threshold is not None else THRESHOLDS)}
        if threshold is not None:
            values[threshold_code(threshold)] = threshold
        thresholds = [value for _, value in sorted(values.items())]
        areas = areas_up_to(largest) if min_area is None else sorted({0, min_area})
        rows = [threshold is None or value == threshold for value in thresholds]
        columns = [min_area is None or area == min_area for area in areas]
        return cls(thresholds, areas, np.outer(rows, columns))

    @property
    def plain(self) -> tuple[int, int]:
        """Indices of threshold 0.5 and every component kept."""
        return [threshold_code(value) for value in self.thresholds].index(threshold_code(0.5)), list(self.areas).index(
            0
        )

    def edges(self, t: int, a: int) -> tuple[str, ...]:
        """At which ends of the grid a choice lies, where a better one may lie beyond; none where nothing was open."""
        rows, columns = np.flatnonzero(self.allowed.any(axis=1)), np.flatnonzero(self.allowed.any(axis=0))
        found = []
        if len(rows) > 1 and t in (rows[0], rows[-1]):
            found.append("threshold")
        if len(columns) > 1 and a == columns[-1]:
            found.append("min_area")
        return tuple(found)
