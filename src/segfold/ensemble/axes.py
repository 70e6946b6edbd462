"""What a search may choose among: thresholds, and the settings of each post step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segfold.errors import SegfoldError
from segfold.post import POST, MaskSizes, works_on
from segfold.post.threshold import threshold_code

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(20, 81))
COARSE_THRESHOLDS: tuple[float, ...] = THRESHOLDS[::5]
FEW = 4
"""Settings of a step that are tried where each costs much time or memory."""
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
        alone: whether it is chosen for what the axes before it are, not together with them.
    """

    name: str
    values: Sequence[Any]
    open: tuple[int, ...]
    rest: int
    open_ended: bool = True
    alone: bool = False

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


def threshold_axis(fixed: float | None = None, coarse: bool = False) -> Axis:
    """Thresholds from .2 to .8, or one of one's own; coarse ones are .05 apart instead of .01.

    Raises:
        SegfoldError: a threshold that is no probability above 0.
    """
    if fixed is None:
        tried = COARSE_THRESHOLDS if coarse else THRESHOLDS
        return Axis(THRESHOLD, tried, tuple(range(len(tried))), tried.index(0.5))
    if not 0 < fixed <= 1:
        raise SegfoldError(f"--threshold {fixed}: expected a probability above 0 and up to 1")
    # Thresholds of one code are one threshold; what was asked for keeps its own digits.
    by_code = {threshold_code(value): value for value in (0.5, fixed)}
    values = [value for _, value in sorted(by_code.items())]
    place = values.index(fixed)
    return Axis(THRESHOLD, values, (place,), place)


def step_axis(name: str, sizes: MaskSizes, coarse: bool = False) -> Axis:
    """A step left out, or with any of the settings that it has for masks of such sizes; coarse: with a few of them, or alone."""
    step = POST[name]
    settings = [dict(each) for each in step.grid(sizes)]
    room = works_on(name)
    if coarse and room != "images" and len(settings) > FEW:
        settings = [settings[(2 * number + 1) * len(settings) // (2 * FEW)] for number in range(FEW)]
    values = [None, *settings]
    return Axis(name, values, tuple(range(len(values))), 0, step.open_ended, alone=coarse and room == "probabilities")


def fixed_step(name: str, settings: Mapping[str, Any] | None) -> Axis:
    """A step with settings of one's own, or left out for good."""
    values = [None] if settings is None else [None, dict(settings)]
    return Axis(name, values, (len(values) - 1,), len(values) - 1)
