"""What turns the probabilities of one class into its mask: steps before the threshold, the threshold, steps after it.

How several classes are decided is said in ``segfold.post.decisions``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from segfold.post.step import Codes, Mask, MaskStep, PostStep, ProbabilityStep, Seen
from segfold.post.steps import POST, works_on
from segfold.post.threshold import threshold_code

StepSettings = tuple[str, tuple[tuple[str, Any], ...]]
"""A step's name and its settings, as pairs, so that decisions can be told apart and looked up."""


@dataclass(frozen=True)
class Decision:
    """A threshold and post steps.

    Attributes:
        threshold: probability from which a pixel is foreground, above 0 and at most 1; None where the most probable of
            several classes is taken.
        steps: in their order; those of probabilities all come before the threshold, those of masks after it.
    """

    threshold: float | None = 0.5
    steps: tuple[StepSettings, ...] = ()

    @classmethod
    def of(cls, threshold: float | None, steps: Mapping[str, Mapping[str, Any]]) -> "Decision":
        """Of settings by the name of the step."""
        return cls(threshold, tuple((name, tuple(settings.items())) for name, settings in steps.items()))

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Of each step by its name."""
        return {name: dict(pairs) for name, pairs in self.steps}

    @cached_property
    def code(self) -> int:
        """Of the threshold."""
        return threshold_code(0.5 if self.threshold is None else self.threshold)

    @cached_property
    def before(self) -> list[ProbabilityStep]:
        """Steps of probabilities."""
        return [step for step in self._built if isinstance(step, ProbabilityStep)]

    @cached_property
    def after(self) -> list[MaskStep]:
        """Steps of masks."""
        return [step for step in self._built if isinstance(step, MaskStep)]

    @cached_property
    def names_before(self) -> tuple[StepSettings, ...]:
        """Of ``before``, with their settings."""
        return tuple(step for step in self.steps if works_on(step[0]) == "probabilities")

    @cached_property
    def names_after(self) -> tuple[StepSettings, ...]:
        """Of ``after``, with their settings."""
        return tuple(step for step in self.steps if works_on(step[0]) != "probabilities")

    @cached_property
    def _built(self) -> list[PostStep]:
        return [POST[name](**dict(pairs)) for name, pairs in self.steps]

    def thresholded(self, codes: Codes, seen: Seen) -> Mask:
        """H×W codes of one class to a mask of 0 and 1 that no step of masks has seen yet."""
        for step in self.before:
            codes = step(codes, seen)
        return (codes >= self.code).astype(np.uint8)

    def __call__(self, codes: Codes, seen: Seen) -> Mask:
        """H×W codes of one class to its H×W mask of 0 and 1."""
        mask = self.thresholded(codes, seen)
        for after in self.after:
            mask = after(mask, seen)
        return mask
