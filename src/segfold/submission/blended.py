"""From the members of an ensemble to a submission: the recipe that is fitted or given, the masks, the manifest."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.ensemble.combine import MEAN, Combination
from segfold.ensemble.contribution import Contribution
from segfold.ensemble.members import Predicted, blend_members
from segfold.ensemble.recipe import Recipe, recipe_text
from segfold.errors import SegfoldError
from segfold.inference.stored import PIPELINE, prediction_meta
from segfold.layouts.ids import one_form
from segfold.post import Decisions, Seen
from segfold.submission.check import shapes_by_id, submission_problems
from segfold.submission.forms import form_of, image_ids, sample_order
from segfold.submission.names import Taken, recipe_path
from segfold.submission.write import Written, write_submission

RUNS_IN_A_NAME = 4
LONGEST_NAME = 150
"""Bytes of a submission's name, to which a suffix and a temporary file's marks are added."""

_ASKED = (
    "use",
    "weights",
    "combine",
    "budget",
    "threshold",
    "min_area",
    "gate",
    "steps",
    "recipe",
    "mixed_folds",
    "fast",
)
"""Options that the manifest records as they were given."""
_DECIDED = ("use", "weights", "combine", "budget", "threshold", "min_area", "gate", "steps", "mixed_folds", "fast")
"""Options that a recipe has decided already."""


@dataclass(frozen=True)
class SubmissionOptions:
    """What a user may fix or allow.

    Attributes:
        weights: of each usable run in the order shown, or how to find them (``segfold.ensemble.strategies.METHODS``); None for
            what is best by its nested score.
        combine: how runs are combined, see ``segfold.ensemble.combine``.
        budget: seconds that predicting the test set may take; None for no bound.
        use: named sets of weights of every run; None for each run's ``predict.weights``.
        competition: use the runs of this one only.
        fast: take runs of ``fast=true`` along with others.
        name: of the CSV or zip; None for the runs' names, or the recipe's.
        force: replace another submission of that name.
        threshold: see ``Wanted``, as the next three.
        min_area: smallest component in pixels; None to choose it.
        gate: probability of not being empty that an image needs; None to choose it.
        steps: names of the post steps that may be tried; None for all but the costly ones.
        recipe: a recipe file to apply; None to fit one.
        without_train: apply the recipe where the training images are not, or are not to be read: nobody checks then
            that the runs were trained on them.
        mixed_folds: allow runs of different fold files.
        dry_run: show what would be submitted, predict nothing of the test set, and write nothing.
        device: to predict on, as ``machine.device``.
    """

    weights: Sequence[float] | str | None = None
    combine: str = "mean"
    budget: float | None = None
    use: Sequence[str] | None = None
    competition: str | None = None
    fast: bool = False
    name: str | None = None
    force: bool = False
    threshold: float | None = None
    min_area: int | None = None
    gate: float | None = None
    steps: Sequence[str] | None = None
    recipe: Path | None = None
    without_train: bool = False
    mixed_folds: bool = False
    dry_run: bool = False
    device: str = "auto"

    def check(self) -> None:
        """Refuses options beside a recipe that has decided them already, and those that need one.

        Raises:
            SegfoldError: names the options.
        """
        if self.recipe is None:
            if self.without_train:
                raise SegfoldError("--without-train applies a recipe: name it with --recipe FILE")
            return
        plain = SubmissionOptions()
        if given := [name for name in _DECIDED if getattr(self, name) != getattr(plain, name)]:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise SegfoldError(f"--recipe says all that {named} would: leave it out, or change {self.recipe}")


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each run is to an ensemble.

    Attributes:
        names: of all M runs that were given.
        adds: of each that the ensemble takes, see ``segfold.ensemble.contribution.leave_one_out``.
        correlation: M×M, of the probabilities; None where it was not looked at.
        disagreement: M×M, share of the pixels that two runs decide differently; None where it was not looked at.
    """

    names: Sequence[str]
    adds: Sequence[Contribution]
    correlation: np.ndarray | None
    disagreement: np.ndarray | None

    def record(self) -> dict[str, Any]:
        """As the manifest has it: lists in the order of ``names``; weights are shares of 1, 0 of what the ensemble leaves out."""
        taken = {each.name: each for each in self.adds}
        whole = sum(each.weight for each in self.adds)
        return {
            "names": list(self.names),
            "weights": [taken[name].weight / whole if name in taken else 0.0 for name in self.names],
            "adds": [_gain(taken.get(name)) for name in self.names],
            "correlation": None if self.correlation is None else self.correlation.tolist(),
            "disagreement": None if self.disagreement is None else self.disagreement.tolist(),
        }


def _gain(found: Contribution | None) -> dict[str, float] | None:
    if found is None or found.adds is None:
        return None
    return {name: getattr(found.adds, name) for name in ("difference", "standard_error", "low", "high", "probability")}


@dataclass(frozen=True)
class Submitted:
    """A submission and what it was made of.

    Attributes:
        written: None of a dry run.
        empty_truth: share of empty masks in the training set, of every image and class; None without that set.
        contributions: what each run adds, and how alike they are; None where that was not looked at.
    """

    written: Written | None
    competition: Competition
    members: Sequence[Predicted]
    recipe: Recipe
    empty_truth: float | None
    contributions: Contributions | None = None


def write_blend(
    members: Sequence[Predicted],
    competition: Competition,
    train: ImageSet | None,
    test: ImageSet,
    recipe: Recipe,
    options: SubmissionOptions,
    home: Path,
    contributions: Contributions | None = None,
) -> Submitted:
    """Apply a recipe to the test blend of its members; the CSV, its manifest and the recipe are written.

    Args:
        train: None where it is not there; the members' own records say what they were trained on.
        contributions: for the manifest.

    Raises:
        SegfoldError: a name that is taken, a CSV that fails the check.
    """
    order = sample_order(competition, test.ids, home)
    ids = image_ids(order)
    shapes = shapes_by_id(test, ids)
    asked = {name: getattr(options, name) for name in _ASKED}
    scores = recipe.scores
    suffix = form_of(competition).suffix
    decisions = recipe.decisions(competition.task, "recipe" if options.recipe is None else str(options.recipe))
    written = write_submission(
        home / "submissions" / f"{_stem(options, members, suffix)}{suffix}",
        _masks(members, [one_form(name) for name in ids], decisions, test, recipe),
        competition,
        order,
        lambda file: submission_problems(file, competition, shapes),
        {
            "recipe": _digest(members, recipe, test),
            "members": [_member_record(member) for member in members],
            "combine": recipe.combine,
            **recipe.settings,
            "asked": {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()},
            "mixed_folds": options.mixed_folds and (scores is None or scores.nested is None),
            "pipeline": PIPELINE,
            "data": {"train": _trained_on(members) if train is None else train.fingerprint, "test": test.fingerprint},
            "metric": competition.metric,
            "cv": None if scores is None else asdict(scores),
            "cv_images": None if scores is None else scores.plain.images,
            "contributions": None if contributions is None else contributions.record(),
        },
        Taken.REPLACE if options.force else Taken.REFUSE if options.name else Taken.RENAME,
        lambda path: recipe_text(recipe, recipe_path(path).relative_to(home)),
    )
    return Submitted(written, competition, members, recipe, empty_share(train, competition), contributions)


def empty_share(train: ImageSet | None, competition: Competition) -> float | None:
    """Share of empty masks in the training set, of every image and class; None without that set."""
    if train is None:
        return None
    assert train.areas is not None
    return float(np.mean(train.areas[:, list(competition.task.rows)] == 0))


def _trained_on(members: Sequence[Predicted]) -> str | None:
    """Hash of the images that all folds of all members were trained on; None where they differ."""
    found = {done["data_hash"] for member in members for done in member.entry.done.values()}
    return str(found.pop()) if len(found) == 1 else None


def _stem(options: SubmissionOptions, members: Sequence[Predicted], suffix: str) -> str:
    if options.name:
        stem = options.name.removesuffix(suffix)
    elif options.recipe is not None:
        stem = options.recipe.name.removesuffix(".yaml").removesuffix(".recipe")
    else:
        runs = [member.entry.name for member in members]
        stem = "+".join(runs) if len(runs) <= RUNS_IN_A_NAME else f"{runs[0]}+{len(runs) - 1}-more"
        stem = stem.encode()[:LONGEST_NAME].decode(errors="ignore")
    if len(stem.rpartition("/")[2].encode()) > LONGEST_NAME:
        raise SegfoldError(f"--name {stem[:20]}…: expected at most {LONGEST_NAME} bytes")
    return stem


def _member_record(member: Predicted) -> dict[str, Any]:
    entry = member.entry
    return {
        "member": entry.label,
        "run": str(entry.folder.path),
        "folds": sorted(entry.done),
        "weight": entry.weight,
        "weights": member.used,
        "tta": list(entry.experiment.predict.tta),
        "fast": entry.experiment.fast,
    }


def _digest(members: Sequence[Predicted], recipe: Recipe, test: ImageSet) -> str:
    """Hash of all that decides the masks: whose predictions in what proportion, and what turns them into masks."""
    blended = [
        {
            "weight": member.entry.weight,
            "stores": {
                fold: [prediction_meta(digest, member.entry.experiment, test) for _, digest in sorted(digests.items())]
                for fold, digests in member.used.items()
            },
        }
        for member in members
    ]
    texts = sorted(json.dumps(member, sort_keys=True) for member in blended)
    made: list[Any] = [texts, recipe.threshold, list(recipe.steps.items())]
    if recipe.combine != MEAN.name:
        made.append([recipe.combine, recipe.fitted])
    if by_class := recipe.settings.get("classes"):
        made.append([[name, each["threshold"], list(each["steps"].items())] for name, each in sorted(by_class.items())])
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()


def _masks(
    members: Sequence[Predicted], order: Sequence[str], decisions: Decisions, test: ImageSet, recipe: Recipe
) -> Iterator[tuple[str, np.ndarray]]:
    combined = Combination(recipe.combine, decisions.task, recipe.fitted)
    for blended, row in zip(blend_members(members, "test", order, combined), test.position(order)):
        yield blended.id, decisions(blended.codes, Seen(partial(test.images.__getitem__, row), blended.nonempty))
