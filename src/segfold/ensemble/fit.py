"""From members to the choice of what turns their blend into masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.ensemble.axes import Axis
from segfold.ensemble.blend import Member, common_ids
from segfold.ensemble.choice import Choice, Grid, choose
from segfold.ensemble.evidence import Images
from segfold.ensemble.kept import Kept
from segfold.ensemble.members import Predicted, blend_members
from segfold.ensemble.nested import parts_of
from segfold.ensemble.wanted import Wanted
from segfold.metrics import CountMetric, MaskMetric, Metric
from segfold.observer import SILENT, Observer
from segfold.post import MaskSizes
from segfold.tasks import Task

_MOST = 4  # numbers of an image up to which the table of a fine grid stays small


@dataclass(frozen=True)
class OofEvidence:
    """Out-of-fold predictions of some members, blended, and what they are held to.

    Attributes:
        ids: sorted ids that all members predict, in the order of ``images``.
        images: see ``Images``.
        nested_over: what the parts of the nested estimate are, for people.
        has_parts: whether a part can be scored by a choice that did not see it.
    """

    ids: list[str]
    images: Images
    nested_over: str
    has_parts: bool


def oof_evidence(
    members: Sequence[Predicted],
    competition: Competition,
    train: ImageSet,
    mixed: bool = False,
    observer: Observer = SILENT,
) -> OofEvidence:
    """What the members have predicted out of fold, blended by their weights, beside the true masks.

    Args:
        mixed: whether the members' folds differ: whatever the parts, some member has trained on the images that a choice
            is scored on, so nothing is nested.
        observer: told of images that a run has not predicted out of fold, and of each pass.

    Raises:
        SegfoldError: no image that all predict.
    """
    common = common_ids([member.oof for member in members])
    for line in common.lines():
        observer.say(line)
    ids = common.ids
    masks, instances = train.masks, train.instances
    assert masks is not None
    position = dict(zip(ids, train.position(ids)))
    if mixed:
        part, named = np.zeros(len(ids), np.int64), "the runs share no folds"
    else:
        fold_of = members[0].oof.fold_of
        part, named = parts_of(ids, [fold_of[name] for name in ids])
    images = Images(
        Kept(lambda: blend_members(members, "oof", ids)),
        lambda name: masks[position[name]],
        lambda name: train.images[position[name]],
        dict(zip(ids, part.tolist())),
        competition.scorer,
        lambda done: observer.predicting(f"choosing on {len(ids):,} images", done, len(ids)),
        competition.task,
        None if instances is None else lambda name: instances[position[name]],
    )
    return OofEvidence(ids, images, named, not mixed)


def fit_decisions(
    members: Sequence[Predicted],
    competition: Competition,
    train: ImageSet,
    test: ImageSet,
    wanted: Wanted,
    mixed: bool,
    observer: Observer = SILENT,
) -> Choice:
    """The decisions for a blend of members, chosen on their out-of-fold predictions.

    Args:
        mixed: see ``oof_evidence``.
        observer: told of images that a run has not predicted out of fold, and of the search.

    Raises:
        SegfoldError: no image that all predict, or as ``Wanted.axes`` says.
    """
    evidence = oof_evidence(members, competition, train, mixed, observer)
    grid = decision_grid(members, evidence.ids, competition, train, test, wanted)
    return choose(evidence.images, grid, evidence.nested_over, evidence.has_parts)


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
