"""From the members of an ensemble to a submission: the choice on out-of-fold predictions, the masks, the manifest."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.ensemble import Decision, Grid, check_same_folds, choose, common_ids, grid_scores
from segfold.ensemble.members import Predicted, blend_members
from segfold.errors import SegfoldError
from segfold.inference.stored import PIPELINE, prediction_meta
from segfold.layouts.ids import one_form
from segfold.metrics import METRICS
from segfold.post import MinArea, Threshold
from segfold.submission.check import csv_problems, sample_ids, shapes_by_id
from segfold.submission.names import Taken
from segfold.submission.write import Written, write_submission

RUNS_IN_A_NAME = 4
LONGEST_NAME = 150
"""Bytes of a submission's name, to which a suffix and a temporary file's marks are added."""

_ASKED = ("use", "weights", "threshold", "min_area", "mixed_folds", "fast")
"""Options that the manifest records as they were given."""


@dataclass(frozen=True)
class SubmissionOptions:
    """What a user may fix or allow.

    Attributes:
        weights: of each usable run in the order shown; None for equal ones.
        use: named sets of weights of every run; None for each run's ``predict.weights``.
        competition: use the runs of this one only.
        fast: take runs of ``fast=true`` along with others.
        name: of the CSV; None for the runs' names.
        force: replace another submission of that name.
        threshold: None to choose it.
        min_area: smallest component in pixels; None to choose it.
        mixed_folds: allow runs of different fold files.
        device: to predict on, as ``machine.device``.
    """

    weights: Sequence[float] | None = None
    use: Sequence[str] | None = None
    competition: str | None = None
    fast: bool = False
    name: str | None = None
    force: bool = False
    threshold: float | None = None
    min_area: int | None = None
    mixed_folds: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class Submitted:
    """A submission and what it was made of.

    Attributes:
        empty_truth: share of empty masks in the training set.
    """

    written: Written
    competition: Competition
    members: Sequence[Predicted]
    decision: Decision
    empty_truth: float


def write_blend(
    members: Sequence[Predicted],
    competition: Competition,
    train: ImageSet,
    test: ImageSet,
    options: SubmissionOptions,
    home: Path,
    say: Callable[[str], None],
) -> Submitted:
    """Choose on the out-of-fold blend, write the test blend.

    Args:
        say: told of images that a run has not predicted out of fold.

    Raises:
        SegfoldError: runs of different fold files, options that do not fit, a CSV that fails the check.
    """
    mixed = _mixed_folds(members, options)
    common = common_ids([member.oof for member in members])
    for line in common.lines():
        say(line)
    grid = _grid(options, train, test, common.ids)
    decision = _decide(competition, members, common.ids, train, grid, mixed)
    order = sample_ids(competition, home)
    shapes = shapes_by_id(test, order)
    asked = asdict(options)
    written = write_submission(
        home / "submissions" / f"{_stem(options.name, members)}.csv",
        _masks(members, [one_form(name) for name in order], decision),
        competition,
        order,
        lambda file: csv_problems(file, competition, shapes),
        {
            "recipe": _recipe(members, decision, test),
            "members": [_member_record(member) for member in members],
            "threshold": decision.threshold,
            "min_area": decision.min_area,
            "asked": {name: asked[name] for name in _ASKED},
            "tried": {"thresholds": [grid.thresholds[0], grid.thresholds[-1]], "min_areas": list(grid.areas)},
            "mixed_folds": mixed,
            "pipeline": PIPELINE,
            "data": {"train": train.fingerprint, "test": test.fingerprint},
            "metric": competition.metric,
            "cv": decision.as_record(),
            "cv_images": len(common.ids),
        },
        Taken.REPLACE if options.force else Taken.REFUSE if options.name else Taken.RENAME,
    )
    return Submitted(written, competition, members, decision, float(np.mean(train.coverage == 0)))


def _stem(name: str | None, members: Sequence[Predicted]) -> str:
    if name:
        stem = name.removesuffix(".csv")
    else:
        runs = [member.entry.folder.name for member in members]
        stem = "+".join(runs) if len(runs) <= RUNS_IN_A_NAME else f"{runs[0]}+{len(runs) - 1}-more"
        stem = stem.encode()[:LONGEST_NAME].decode(errors="ignore")
    if len(stem.rpartition("/")[2].encode()) > LONGEST_NAME:
        raise SegfoldError(f"--name {stem[:20]}…: expected at most {LONGEST_NAME} bytes")
    return stem


def _member_record(member: Predicted) -> dict[str, Any]:
    entry = member.entry
    return {
        "run": str(entry.folder.path),
        "folds": sorted(entry.done),
        "weight": entry.weight,
        "weights": member.used,
        "tta": list(entry.experiment.predict.tta),
        "gate": entry.experiment.predict.gate,
        "fast": entry.experiment.fast,
    }


def _recipe(members: Sequence[Predicted], decision: Decision, test: ImageSet) -> str:
    """Hash of all that decides the masks: whose predictions in what proportion, and what turns them into masks."""
    blended = [
        {
            "weight": member.entry.weight,
            "gate": member.entry.experiment.predict.gate,
            "stores": {
                fold: [prediction_meta(digest, member.entry.experiment, test) for _, digest in sorted(digests.items())]
                for fold, digests in member.used.items()
            },
        }
        for member in members
    ]
    texts = sorted(json.dumps(member, sort_keys=True) for member in blended)
    return hashlib.sha256(json.dumps([texts, decision.threshold, decision.min_area]).encode()).hexdigest()


def _mixed_folds(members: Sequence[Predicted], options: SubmissionOptions) -> bool:
    """Whether the members' folds differ, where that is allowed."""
    try:
        check_same_folds([member.oof for member in members])
    except SegfoldError as error:
        if not options.mixed_folds:
            raise SegfoldError(f"{error}, or allow it with --mixed-folds") from None
        return True
    return False


def _grid(options: SubmissionOptions, train: ImageSet, test: ImageSet, ids: Sequence[str]) -> Grid:
    pixels, of_test = (images.images.shapes[:, :2].prod(axis=1) for images in (train, test))
    largest = round(float((train.coverage * pixels)[train.position(ids)].max()))
    return Grid.of(largest, int(max(pixels.max(), of_test.max())), options.threshold, options.min_area)


def _decide(
    competition: Competition,
    members: Sequence[Predicted],
    ids: Sequence[str],
    train: ImageSet,
    grid: Grid,
    mixed: bool,
) -> Decision:
    masks = train.masks
    assert masks is not None
    position = dict(zip(ids, train.position(ids)))
    fold_of = members[0].oof.fold_of
    blended = blend_members(members, "oof", ids)
    seen, scores = grid_scores(blended, lambda name: masks[position[name]], METRICS[competition.metric], grid)
    return choose(seen, scores, None if mixed else [fold_of[name] for name in seen], grid)


def _masks(members: Sequence[Predicted], order: Sequence[str], decision: Decision) -> Iterator[tuple[str, np.ndarray]]:
    threshold, components = Threshold(value=decision.threshold), MinArea(min_area=decision.min_area)
    for name, codes in blend_members(members, "test", order):
        yield name, components(threshold(codes[0]))
