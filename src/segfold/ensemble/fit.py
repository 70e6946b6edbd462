"""From members to the choice of what turns their blend into masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.ensemble.axes import SWEPT, Axis
from segfold.ensemble.blend import Member, common_ids
from segfold.ensemble.choice import Chooser, Grid
from segfold.ensemble.combine import Combination, combination
from segfold.ensemble.evidence import Images
from segfold.ensemble.kept import Kept
from segfold.ensemble.members import Predicted, blend_members
from segfold.ensemble.nested import parts_of
from segfold.ensemble.wanted import GATE, Wanted, can_be_taken
from segfold.metrics import CountMetric, MaskMetric, Metric
from segfold.observer import SILENT, Observer
from segfold.post import POST, MaskSizes
from segfold.tasks import Task

Weights = tuple[float, ...]
_KEPT = 1 << 27  # bytes in memory of a blend, of which there are some at a time
_MOST = 4  # numbers of an image up to which the table of a fine grid stays small


@dataclass(frozen=True)
class OofSource:
    """Where the out-of-fold evidence of any blend of some members comes from.

    Attributes:
        members: all of them, each with its weight.
        ids: sorted ids that all members predict.
        part: (N,) part of the nested estimate that each belongs to.
        nested_over: what the parts are, for people.
        has_parts: whether a part can be scored by a choice that did not see it.
        combination: of all the members.
    """

    members: Sequence[Predicted]
    ids: list[str]
    part: npt.NDArray[np.int64]
    nested_over: str
    has_parts: bool
    competition: Competition
    train: ImageSet
    combination: Combination
    observer: Observer

    def weighed(self, weights: Sequence[float]) -> list[Predicted]:
        """The members with these weights."""
        return [
            replace(member, entry=replace(member.entry, weight=weight))
            for member, weight in zip(self.members, weights, strict=True)
        ]

    def images(self, members: Sequence[Predicted] | None = None) -> Images:
        """The blend of all the members, by the weights that they have."""
        ids, masks, instances = self.ids, self.train.masks, self.train.instances
        assert masks is not None
        position = dict(zip(ids, self.train.position(ids)))
        blended = self.members if members is None else members
        return Images(
            Kept(lambda: blend_members(blended, "oof", ids, self.combination), _KEPT),
            lambda name: masks[position[name]],
            lambda name: self.train.images[position[name]],
            dict(zip(ids, self.part.tolist())),
            self.competition.scorer,
            lambda done: self.observer.predicting(f"choosing on {len(ids):,} images", done, len(ids)),
            self.competition.task,
            None if instances is None else lambda name: instances[position[name]],
        )


def oof_source(
    members: Sequence[Predicted],
    competition: Competition,
    train: ImageSet,
    mixed: bool = False,
    observer: Observer = SILENT,
    combine: str = "mean",
    fitted: Mapping[str, str] | None = None,
) -> OofSource:
    """What the members have predicted out of fold, beside the true masks, for any weights.

    Args:
        mixed: whether the members' folds differ: whatever the parts, some member has trained on the images that a choice
            is scored on, so nothing is nested.
        observer: told of images that a run has not predicted out of fold, and of each pass.
        combine: how the members are combined, see ``segfold.ensemble.combine``.
        fitted: what a recipe has kept of the combination; None to fit it on these predictions.

    Raises:
        SegfoldError: no image that all predict.
    """
    runs = [member.oof for member in members]
    common = common_ids(runs)
    for line in common.lines():
        observer.say(line)
    fold_of = members[0].oof.fold_of
    part, named = parts_of(common.ids, [fold_of[name] for name in common.ids])
    if mixed:
        part, named = np.zeros_like(part), "the runs share no folds"
    combined = combination(combine, runs, common.ids, competition.task, fitted)
    return OofSource(members, common.ids, part, named, not mixed, competition, train, combined, observer)


class Blends:
    """Blends of some members by any weights, and what may be chosen for each."""

    def __init__(self, source: OofSource, test: ImageSet, wanted: Wanted) -> None:
        """
        Args:
            wanted: what a user fixes, and what is to be tried.
        """
        self.source, self.test, self.wanted = source, test, wanted
        self._images: dict[Weights, Images] = {}
        self._choosers: dict[tuple[Weights, bool], Chooser] = {}

    def images(self, weights: Weights) -> Images:
        """The blend by some weights."""
        if weights not in self._images:
            self._images[weights] = self.source.images(self.source.weighed(weights))
        return self._images[weights]

    def chooser(self, weights: Weights, few: bool = False) -> Chooser:
        """What may be chosen for the blend by some weights.

        Args:
            few: of the post steps only those that cost nothing beside the threshold.

        Raises:
            SegfoldError: as ``Wanted.axes`` says.
        """
        if (weights, few) not in self._choosers:
            wanted = replace(self.wanted, steps=self._cheap()) if few else self.wanted
            source, members = self.source, self.source.weighed(weights)
            grid = decision_grid(members, source.ids, source.competition, source.train, self.test, wanted)
            self._choosers[weights, few] = Chooser(self.images(weights), grid, source.has_parts)
        return self._choosers[weights, few]

    def forget(self) -> None:
        """Lets go of what was kept for blends that were asked for."""
        self._choosers.clear()
        self._images.clear()

    def _cheap(self) -> list[str]:
        asked = POST if self.wanted.steps is None else self.wanted.steps
        task = self.source.competition.task
        return [name for name in asked if name in (SWEPT, GATE) and can_be_taken(name, task)]


def decision_grid(
    members: Sequence[Predicted],
    ids: Sequence[str],
    competition: Competition,
    train: ImageSet,
    test: ImageSet,
    wanted: Wanted,
) -> Grid:
    """The axes that the decision for a blend may be chosen on; sizes are of one class, or of all."""
    task, metric, areas = competition.task, competition.scorer, train.areas
    assert areas is not None
    runs: list[Member] = [member.oof for member in members if member.entry.weight]
    has_gate = any(run.nonempty_sum(ids[0]) is not None for run in runs)
    largest = max(int(images.images.shapes[:, :2].prod(axis=1).max(initial=0)) for images in (train, test))
    fullest = areas[train.position(ids)].max(axis=0)

    def grid(index: int | None) -> list[Axis]:
        """Exclusive classes share settings, which the smallest must stand."""
        of_all = fullest[list(task.rows)]
        pixels = fullest[index] if index is not None else of_all.min() if task.exclusive else of_all.max()
        return wanted.axes(MaskSizes(largest, int(pixels)), has_gate, task, is_slow(metric, task, index))

    return grid


def is_slow(metric: Metric, task: Task, index: int | None) -> bool:
    """Whether a fine grid would take too long, or too much memory."""
    alone = index is not None or len(task.classes) == 1
    one_pass = isinstance(metric, CountMetric) or (alone and type(metric).swept is not MaskMetric.swept)  # type: ignore[attr-defined]
    return not one_pass or (not alone and metric.size(len(task.classes)) > _MOST)
