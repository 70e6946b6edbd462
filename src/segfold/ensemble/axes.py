"""What a search may choose among: thresholds, and the settings of each post step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segfold.errors import SegfoldError
from segfold.post import POST, MaskSizes, works_on
from segfold.post.threshold import threshold_code

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(20, 81))
THRESHOLD, SWEPT = "threshold", "components"
"""The axes whose values are all scored in one pass over an image, see ``segfold.ensemble.sweep``."""


@dataclass(frozen=True)
class Axis:
    """A threshold, or a post step: the settings that it may have.

    Attributes:
        name: ``threshold``, or the step's.
        values: thresholds, or settings of the step; None is the step left out.
        open: indices of the values that may be chosen.
        rest: index of the value where nothing is chosen.
        open_ended: whether a value beyond the last one (of thresholds the first one too) may be better still.
    """

    name: str
    values: Sequence[Any]
    open: tuple[int, ...]
    rest: int
    open_ended: bool = True

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.open) == 1

    @property
    def plain(self) -> int:
        """Index of the value of a plain submission: a threshold of one half, every step left out."""
        if self.name == THRESHOLD:
            return [threshold_code(value) for value in self.values].index(threshold_code(0.5))
        return self.values.index(None)

    @property
    def where(self) -> str:
        """What it works on, see ``works_on``; ``sweep`` of the threshold and the smallest component."""
        return "sweep" if self.name in (THRESHOLD, SWEPT) else works_on(self.name)


def threshold_axis(fixed: float | None = None) -> Axis:
    """Thresholds from .2 to .8, or one of one's own.

    Raises:
        SegfoldError: a threshold that is no probability above 0.
    """
    if fixed is None:
        return Axis(THRESHOLD, THRESHOLDS, tuple(range(len(THRESHOLDS))), THRESHOLDS.index(0.5))
    if not 0 < fixed <= 1:
        raise SegfoldError(f"--threshold {fixed}: expected a probability above 0 and up to 1")
    # Thresholds of one code are one threshold; what was asked for keeps its own digits.
    by_code = {threshold_code(value): value for value in (0.5, fixed)}
    values = [value for _, value in sorted(by_code.items())]
    place = values.index(fixed)
    return Axis(THRESHOLD, values, (place,), place)


def step_axis(name: str, sizes: MaskSizes) -> Axis:
    """A step left out, or with any of the settings that it has for masks of such sizes."""
    step = POST[name]
    values = [None, *(dict(settings) for settings in step.grid(sizes))]
    return Axis(name, values, tuple(range(len(values))), 0, step.open_ended)


def fixed_step(name: str, settings: Mapping[str, Any] | None) -> Axis:
    """A step with settings of one's own, or left out for good."""
    values = [None] if settings is None else [None, dict(settings)]
    return Axis(name, values, (len(values) - 1,), len(values) - 1)
