"""A run or an ensemble as it scores out of fold: the features of each image, and what made them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segfold.config import dump, identity
from segfold.ensemble.blend import check_same_folds
from segfold.ensemble.choice import Chooser
from segfold.ensemble.evidence import image_features, part_features
from segfold.ensemble.fit import OofSource, decision_grid, oof_source
from segfold.ensemble.members import Predicted
from segfold.ensemble.recipe import Recipe
from segfold.ensemble.wanted import Wanted
from segfold.errors import SegfoldError
from segfold.gathering import Gathered, gather
from segfold.observer import SILENT, Observer
from segfold.post import POST, Decision, Decisions
from segfold.submission.blended import SubmissionOptions
from segfold.submission.names import recipe_path

Decided = Literal["own", "plain", "nested"]
"""What turns a side's probabilities into masks: a recipe's own threshold and steps, and for a run one half without steps;
one half without steps for both; or what is chosen for each part of the images on the other parts."""

_COMBINED = ("combine", "weighed")
"""The recipe's keys that say how its members are combined."""


@dataclass(frozen=True, eq=False)
class Side:
    """A run, or an ensemble, and how it scores.

    Attributes:
        name: of the run or recipe, for people.
        gathered: its members and its data.
        recipe: of an ensemble; None of a run alone.
        ids: sorted ids of the images that are scored.
        features: (N, K) numbers of each image, in the order of ``ids``.
        masks: what turned probabilities into masks, for people.
    """

    name: str
    gathered: Gathered
    recipe: Recipe | None
    ids: list[str]
    features: npt.NDArray[np.float64]
    masks: str

    @property
    def members(self) -> list[Predicted]:
        """The runs that are blended."""
        return self.gathered.members

    @property
    def folds(self) -> list[int]:
        """The finished folds that all members have."""
        return sorted(set.intersection(*(set(member.entry.done) for member in self.members)))

    def settings(self, alone: bool) -> dict[str, Any]:
        """What made the scores, by dotted path.

        Args:
            alone: of the only member with all of its settings; else of the members by name.
        """
        if alone:
            (member,) = self.members
            experiment = member.entry.experiment
            found: dict[str, Any] = identity(experiment)
            found |= dict(_flat({"predict": dump(experiment.predict)}))
            if experiment.predict.boxes is not None:
                found |= dict(_flat({"proposals": dump(experiment.proposals)}))
            found["predict.weights"] = sorted({name for digests in member.used.values() for name in digests})
            found.pop("predict.batch_size", None)
        else:
            found = {f"members.{member.entry.label}": member.entry.weight for member in self.members}
            found["combine"] = "mean"
            if self.recipe is not None:
                found |= {key: getattr(self.recipe, key) for key in _COMBINED}
        return found | {"masks": self.masks}


def read_side(path: Path, home: Path = Path(), decided: Decided = "own", observer: Observer = SILENT) -> Side:
    """A run or an ensemble with the features of its out-of-fold predictions; what is not predicted yet is predicted.

    Args:
        path: a run folder, a recipe, or a submission or its manifest with a recipe beside it.
        home: the working folder.

    Raises:
        SegfoldError: no such run or recipe, or what ``gather`` and ``oof_source`` refuse.
    """
    file = _recipe_of(path, home)
    options = SubmissionOptions(recipe=file, fast=file is None)
    gathered = gather([path] if file is None else [], options, home, observer, oof=True)
    members = gathered.members
    recipe = gathered.recipe
    combine, fitted = ("mean", None) if recipe is None else (recipe.combine, recipe.fitted)
    data = gathered.competition, gathered.train
    source = oof_source(members, *data, _mixed_folds(members), observer, combine, fitted)
    decisions = _fixed(gathered, decided)
    if decisions is not None:
        features, masks = image_features(source.images(), decisions), _text(decisions)
    else:
        # What the recipe has taken was tried for it, however long that takes.
        costly = () if recipe is None else sorted(name for name in recipe.step_names if POST[name].costly)
        features = _nested(gathered, source, path, Wanted(costly=costly))
        tried = f", {' and '.join(costly)} tried too" if costly else ""
        masks = f"chosen on the other parts ({source.nested_over}){tried}"
    name = members[0].entry.label if file is None else file.name.removesuffix(".yaml").removesuffix(".recipe")
    return Side(name, gathered, recipe, source.ids, features, masks)


def _recipe_of(path: Path, home: Path) -> Path | None:
    """The recipe that a path stands for; None where it stands for a run."""
    if path.suffix not in (".yaml", ".yml", ".csv", ".zip", ".json") or (home / path).is_dir():
        return None
    if path.suffix in (".yaml", ".yml"):
        return path
    recipe = recipe_path(path)
    if not (home / path).exists():
        raise SegfoldError(f"{path} does not exist; give a submission, a recipe or a run folder")
    if not (home / recipe).exists():
        raise SegfoldError(f"{path} has no recipe beside it: expected {recipe}, which submit.py writes")
    return recipe


def _fixed(gathered: Gathered, decided: Decided) -> Decisions | None:
    task = gathered.competition.task
    if decided == "nested":
        return None
    if decided == "own" and gathered.recipe is not None:
        return gathered.recipe.decisions(task)
    return Decisions(task, (Decision.of(None if task.exclusive else 0.5, {}),))


def _mixed_folds(members: Sequence[Predicted]) -> bool:
    try:
        check_same_folds([member.oof for member in members])
    except SegfoldError:
        return True
    return False


def _nested(gathered: Gathered, source: OofSource, path: Path, wanted: Wanted) -> npt.NDArray[np.float64]:
    images = source.images()
    if not source.has_parts or images.parts < 2:
        raise SegfoldError(f"{path}: nothing can be chosen on other parts, there are none; leave out --nested")
    data = gathered.competition, gathered.train, gathered.test
    chooser = Chooser(images, decision_grid(gathered.members, source.ids, *data, wanted))
    parts = range(images.parts)
    return part_features(images, {part: chooser.fit([other for other in parts if other != part]) for part in parts})


def _text(decisions: Decisions) -> str:
    """Of decisions, for people."""
    return "; ".join(dict.fromkeys(map(_decision_text, decisions.each)))


def _decision_text(decision: Decision) -> str:
    first = "most probable class" if decision.threshold is None else f"threshold {decision.threshold:g}"
    steps = (" ".join([name, *(f"{key} {value:g}" for key, value in pairs)]) for name, pairs in decision.steps)
    return ", ".join([first, *steps])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing(a: Side, b: Side) -> list[tuple[str, Any, Any]]:
    """Dotted path and both values of each setting in which two sides differ; of one that a side lacks, None."""
    alone = len(a.members) == 1 and len(b.members) == 1
    one, other = a.settings(alone), b.settings(alone)
    paths = dict.fromkeys([*one, *other])
    return [(path, one.get(path), other.get(path)) for path in paths if one.get(path) != other.get(path)]
