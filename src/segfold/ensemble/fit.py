"""From members to the decision: what is worth a try for these masks, and what a user has fixed."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segfold.data.images import ImageSet
from segfold.ensemble.axes import SWEPT, Axis, fixed_step, step_axis, threshold_axis
from segfold.ensemble.blend import Member
from segfold.ensemble.evidence import Images, score_table
from segfold.ensemble.members import Predicted, blend_members
from segfold.ensemble.nested import parts_of
from segfold.ensemble.search import Fitted, Search
from segfold.errors import SegfoldError
from segfold.metrics import IMAGE_SCORES
from segfold.observer import SILENT, Observer
from segfold.post import POST, MaskSizes

GATE = "gate"


@dataclass(frozen=True)
class Wanted:
    """What a user fixes, and what is to be tried.

    Attributes:
        threshold: probability from which a pixel is foreground; None to choose it.
        min_area: pixels of the smallest component, 0 to keep every one; None to choose it.
        gate: probability of not being empty that an image needs, 0 for no gate; None to choose it.
        steps: names of the post steps that may be tried; None for all.
    """

    threshold: float | None = None
    min_area: int | None = None
    gate: float | None = None
    steps: Sequence[str] | None = None

    def axes(self, sizes: MaskSizes, has_gate: bool) -> list[Axis]:
        """The threshold and the steps in the order in which they are tried.

        Args:
            has_gate: whether a member has an image head.

        Raises:
            SegfoldError: a number that no mask can be made with, a gate that nothing feeds, a step that does not exist.
        """
        self._check(sizes, has_gate)
        fixed: dict[str, Mapping[str, Any] | None] = {}
        if self.min_area is not None:
            fixed[SWEPT] = {"min_area": self.min_area} if self.min_area else None
        if self.gate is not None:
            fixed[GATE] = {"least": self.gate} if self.gate else None
        axes = [threshold_axis(self.threshold)]
        for name in POST:
            if name in fixed:
                axes.append(fixed_step(name, fixed[name]))
            elif (self.steps is None or name in self.steps) and (name != GATE or has_gate):
                axes.append(step_axis(name, sizes))
            elif name == SWEPT:  # the sweep needs it, as left out
                axes.append(fixed_step(name, None))
        return axes

    def _check(self, sizes: MaskSizes, has_gate: bool) -> None:
        for name in self.steps or ():
            if name not in POST:
                near = difflib.get_close_matches(name, POST, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(POST)}"
                raise SegfoldError(f"--steps {name}: no post step of that name; {hint}")
        if self.min_area is not None and not 0 <= self.min_area <= sizes.pixels:
            raise SegfoldError(
                f"--min-area {self.min_area}: expected 0 to {sizes.pixels} pixels, the size of the largest image"
            )
        if self.gate is not None and not 0 <= self.gate <= 1:
            raise SegfoldError(f"--gate {self.gate}: expected a probability, 0 for no gate")
        if self.gate and not has_gate:
            raise SegfoldError(f"--gate {self.gate}: no run has an image head, train one with model.heads.image=true")


def fit_decision(
    members: Sequence[Predicted],
    train: ImageSet,
    test: ImageSet,
    ids: Sequence[str],
    metric: str,
    wanted: Wanted,
    mixed: bool,
    observer: Observer = SILENT,
) -> tuple[Fitted, list[Axis]]:
    """The decision for a blend of members, chosen on their out-of-fold predictions, and what it was chosen among.

    Args:
        ids: what all members predict, sorted.
        metric: name in ``IMAGE_SCORES``.
        mixed: whether the members' folds differ: whatever the parts, some member has trained on the images that a choice
            is scored on, so nothing is nested.

    Raises:
        SegfoldError: no image, or as ``Wanted.axes`` says.
    """
    if not ids:
        raise SegfoldError("no out-of-fold prediction to choose a threshold on; train a fold")
    masks = train.masks
    assert masks is not None
    position = dict(zip(ids, train.position(ids)))
    runs: list[Member] = [member.oof for member in members if member.entry.weight]
    has_gate = any(run.nonempty_sum(ids[0]) is not None for run in runs)
    pixels, of_test = (images.images.shapes[:, :2].prod(axis=1) for images in (train, test))
    fullest = round(float((train.coverage * pixels)[list(position.values())].max()))
    axes = wanted.axes(MaskSizes(int(max(pixels.max(), of_test.max())), fullest), has_gate)
    if mixed:
        part, named = np.zeros(len(ids), np.int64), "the runs share no folds"
    else:
        fold_of = members[0].oof.fold_of
        part, named = parts_of(ids, [fold_of[name] for name in ids])
    images = Images(
        lambda: blend_members(members, "oof", ids),
        lambda name: masks[position[name]],
        lambda name: train.images[position[name]],
        dict(zip(ids, part.tolist())),
        IMAGE_SCORES[metric],
        lambda done: observer.predicting(f"choosing on {len(ids):,} images", done, len(ids)),
    )
    return Search(images, axes, score_table(images, axes), has_parts=not mixed).fitted(named), axes
