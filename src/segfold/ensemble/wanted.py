"""What is worth a try for some masks, and what a user has fixed."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segfold.ensemble.axes import SWEPT, Axis, fixed_step, step_axis, threshold_axis
from segfold.errors import SegfoldError
from segfold.post import POST, MaskSizes, works_on
from segfold.tasks import FOREGROUND, Task

GATE = "gate"


@dataclass(frozen=True)
class Wanted:
    """What a user fixes, and what is to be tried; of all classes alike.

    Attributes:
        threshold: probability from which a pixel is foreground; None to choose it.
        min_area: pixels of the smallest component, 0 to keep every one; None to choose it.
        gate: probability of not being empty that an image needs, 0 for no gate; None to choose it.
        steps: names of the post steps that may be tried; None for all but the costly ones.
        costly: names of costly steps that may be tried too where ``steps`` is None.
    """

    threshold: float | None = None
    min_area: int | None = None
    gate: float | None = None
    steps: Sequence[str] | None = None
    costly: Collection[str] = ()

    def axes(self, sizes: MaskSizes, has_gate: bool, task: Task = FOREGROUND, coarse: bool = False) -> list[Axis]:
        """The threshold, where there is one, and the steps in the order in which they are tried.

        Args:
            has_gate: whether a member has an image head.
            task: which classes there are.
            coarse: fewer settings, where each costs much time or memory.

        Raises:
            SegfoldError: a number that no mask can be made with, a gate that nothing feeds, a step that does not exist,
                whatever means nothing for such classes.
        """
        self._check(sizes, has_gate, task)
        fixed: dict[str, Mapping[str, Any] | None] = {}
        if self.min_area is not None:
            fixed[SWEPT] = {"min_area": self.min_area} if self.min_area else None
        if self.gate is not None:
            fixed[GATE] = {"least": self.gate} if self.gate else None
        axes = [] if task.exclusive else [threshold_axis(self.threshold, coarse)]
        for name in POST:
            if name in fixed:
                axes.append(fixed_step(name, fixed[name]))
            elif self._tries(name) and can_be_taken(name, task) and (name != GATE or has_gate):
                # Steps of masks of exclusive classes cost a pass for some settings, of each class.
                axes.append(step_axis(name, sizes, coarse or (task.exclusive and works_on(name) == "masks")))
            elif name == SWEPT and not task.exclusive:  # the sweep needs it, as left out
                axes.append(fixed_step(name, None))
        return axes

    def _tries(self, name: str) -> bool:
        if self.steps is not None:
            return name in self.steps
        return not POST[name].costly or name in self.costly

    def _check(self, sizes: MaskSizes, has_gate: bool, task: Task) -> None:
        for name in self.steps or ():
            if name not in POST:
                near = difflib.get_close_matches(name, POST, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(POST)}"
                raise SegfoldError(f"--steps {name}: no post step of that name; {hint}")
            if not can_be_taken(name, task):
                raise SegfoldError(f"--steps {name}: {NO_EMPTY}; leave it out")
        if task.exclusive and self.threshold is not None:
            raise SegfoldError(f"--threshold {self.threshold}: {NO_THRESHOLD}; leave it out")
        if self.min_area is not None and not 0 <= self.min_area <= sizes.pixels:
            raise SegfoldError(
                f"--min-area {self.min_area}: expected 0 to {sizes.pixels} pixels, the size of the largest image"
            )
        if self.gate is not None and not 0 <= self.gate <= 1:
            raise SegfoldError(f"--gate {self.gate}: expected a probability, 0 for no gate")
        if self.gate and not can_be_taken(GATE, task):
            raise SegfoldError(f"--gate {self.gate}: {NO_EMPTY}; leave it out")
        if self.gate and not has_gate:
            raise SegfoldError(f"--gate {self.gate}: no run has an image head, train one with model.heads.image=true")


NO_THRESHOLD = "the classes exclude each other, so each pixel gets its most probable class and there is no threshold"
NO_EMPTY = "it empties images, but no class is the background that would be left"


def can_be_taken(name: str, task: Task) -> bool:
    """Whether a step means something for such classes."""
    return works_on(name) != "images" or not task.exclusive or task.background is not None
