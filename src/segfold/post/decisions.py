"""What turns an image's probabilities into its mask, whatever its classes are.

Classes that are each by themselves have a decision each, or share one: steps of probabilities, the threshold, steps of
masks, on the class's own plane.

Classes that exclude each other share one without a threshold. Steps of probabilities work on each plane, or on all at
once, then every pixel gets its most probable class. A step of masks is asked about each class but the background, all of them before
anything is changed. What it takes from a class goes to the most probable class that no step has taken the pixel from (and
stays if there is none), what it adds to a class goes to that class, to the later one of several. A step that empties an
image leaves the background alone, and does nothing where no class is background.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.post.decision import Decision
from segfold.post.step import Codes, EmptyingStep, MaskStep, Seen
from segfold.tasks import Mask, Task

Known = dict[Any, Any]
"""What other decisions have made of the same image, by what they did so far."""


@dataclass(frozen=True)
class Decisions:
    """The decisions of a competition's classes.

    Attributes:
        task: which classes there are.
        each: one a class, or one for all; exclusive classes have one for all.
    """

    task: Task
    each: tuple[Decision, ...]

    def __call__(self, codes: Codes, seen: Seen, known: Known | None = None) -> Mask:
        """The mask of C×H×W codes.

        Args:
            known: where to keep what is made on the way, so that decisions which begin alike share it.
        """
        known = {} if known is None else known
        if self.task.exclusive:
            return self._exclusive(codes, seen, known)
        each = self.each if len(self.each) > 1 else self.each * len(codes)
        planes = [
            _plane(index, plane, decision, seen, known) for index, (plane, decision) in enumerate(zip(codes, each))
        ]
        return self.task.mask(np.stack(planes))

    def _exclusive(self, codes: Codes, seen: Seen, known: Known) -> Mask:
        (decision,) = self.each
        key: tuple[Any, ...] = decision.names_before
        if key not in known:
            smoothed = codes
            for step in decision.before:
                smoothed = step.together(smoothed, seen)
            known[key] = smoothed, self.task.decided(smoothed, ()), np.zeros(codes.shape, bool)
        probable, mask, taken = known[key]
        for settings, after in zip(decision.names_after, decision.after):
            key = (*key, settings)
            if key not in known:
                known[key] = probable, *self._stepped(after, probable, mask, taken, seen)
            _, mask, taken = known[key]
        return mask

    def _stepped(
        self, step: MaskStep, codes: Codes, mask: Mask, taken: npt.NDArray[np.bool_], seen: Seen
    ) -> tuple[Mask, npt.NDArray[np.bool_]]:
        """The mask after a step, and C×H×W from which class a step has taken which pixels."""
        background = self.task.background
        if isinstance(step, EmptyingStep):
            if background is None or step.keeps(seen):
                return mask, taken
            return np.full_like(mask, background), taken
        planes, taken = self.task.planes(mask), taken.copy()
        added = np.zeros_like(planes)
        for index in self.task.rows:
            if planes[index].any():
                found = step(planes[index].view(np.uint8), seen) > 0
                taken[index] |= planes[index] & ~found
                added[index] = found & ~planes[index]
        mask = mask.copy()
        gone = np.take_along_axis(taken, mask[None].astype(np.intp), axis=0)[0]
        left = np.where(taken[:, gone], -1, codes[:, gone].astype(np.int32))
        mask[gone] = np.where(left.max(axis=0, initial=-1) < 0, mask[gone], left.argmax(axis=0))
        for index in self.task.rows:
            mask[added[index]] = index
        return mask, taken


def _plane(index: int, codes: npt.NDArray[np.uint16], decision: Decision, seen: Seen, known: Known) -> npt.NDArray[Any]:
    """H×W of 0 and 1 of one class; ``known`` holds what was made of it by the steps of other decisions."""
    key: tuple[Any, ...] = (index, decision.names_before, decision.code)
    if key not in known:
        known[key] = decision.thresholded(codes, seen)
    mask = known[key]
    for settings, step in zip(decision.names_after, decision.after):
        key = (*key, settings)
        if key not in known:
            known[key] = step(mask, seen)
        mask = known[key]
    return np.asarray(mask)
