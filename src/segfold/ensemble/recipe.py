"""The recipe: all that turns stored predictions into masks, as a small YAML file that is written, read and applied again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ValidationError, field_validator

from segfold.ensemble.axes import Axis
from segfold.ensemble.members import Entry, Predicted
from segfold.ensemble.search import Fitted, Scores
from segfold.errors import SegfoldError
from segfold.post import POST, Decision
from segfold.schema import Settings, Weight, named_map, problems
from segfold.yaml_file import read_yaml, yaml_text

_STEPS = named_map("steps", POST)
_HEAD = """\
# What turns the stored predictions of some runs into masks, fitted on what they predicted out of fold:
# python submit.py --recipe {name} applies it again. `tried` and `scores` say how it was chosen.
"""


class RecipeMember(Settings):
    """A run in a recipe.

    Attributes:
        run: its folder, relative to the working folder.
        weight: its share in the blend, in any scale.
        tta: transforms that its networks predict with.
        weights: by fold, the sha256 of each named set of weights that predicts.
    """

    run: str
    weight: Weight = 1.0
    tta: Annotated[tuple[str, ...], MinLen(1)]
    weights: Annotated[dict[Annotated[int, Ge(0)], dict[str, str]], MinLen(1)]


class Recipe(Settings):
    """What a recipe file holds.

    Attributes:
        format: of this file.
        competition: its name.
        members: runs by their names.
        combine: how they are combined: ``mean`` is the weighted mean of their probabilities.
        threshold: probability from which a pixel is foreground.
        steps: post steps by name with their settings, in the order in which they are taken.
        tried: for each step, and for the threshold, what was tried.
        scores: out of fold: plain, as tuned, and nested; of each trial too.
        scored: hash of the members and the decision that the scores are of.
    """

    format: Literal[1]
    competition: str
    members: Annotated[dict[str, RecipeMember], MinLen(1)]
    combine: Literal["mean"] = "mean"
    threshold: Annotated[float, Gt(0), Le(1)] = 0.5
    steps: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    tried: dict[str, list[Any]] = {}  # noqa: RUF012
    scores: Scores | None = None
    scored: str | None = None

    @field_validator("steps", mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        try:
            checked = dict(_STEPS.model_validate(values).items())
        except ValidationError as error:
            raise ValueError(problems(error, _STEPS)) from None
        return {name: checked[name].model_dump() for name in values if name in checked}

    @property
    def decision(self) -> Decision:
        """Threshold and post steps."""
        return Decision.of(self.threshold, self.steps)

    @property
    def digest(self) -> str:
        """Hash of what its scores depend on; the order of the members is not among it, that of the steps is."""
        members = {name: member.model_dump(mode="json") for name, member in self.members.items()}
        made = [members, self.combine, self.threshold, list(self.steps.items())]
        return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()

    def without_others_scores(self) -> "Recipe":
        """The same, but without scores that are not its own: a recipe that was changed by hand has none."""
        return self if self.scored == self.digest else self.model_copy(update={"scores": None, "scored": None})


def recipe_of(competition: str, members: Sequence[Predicted], fitted: Fitted, axes: Sequence[Axis]) -> Recipe:
    """The recipe of members and the decision that was fitted for them."""
    recipe = Recipe(
        format=1,
        competition=competition,
        members={
            member.entry.label: RecipeMember(
                run=str(member.entry.folder.path),
                weight=member.entry.weight,
                tta=member.entry.experiment.predict.tta,
                weights=member.used,
            )
            for member in members
        },
        threshold=fitted.decision.threshold,
        steps=fitted.decision.settings,
        tried={axis.name: [axis.values[i] for i in axis.open] for axis in axes},
        scores=fitted.scores,
    )
    return recipe.model_copy(update={"scored": recipe.digest})


def recipe_text(recipe: Recipe, path: Path) -> str:
    """YAML text of a recipe for a file at ``path``; ``read_recipe`` gives the same recipe back."""
    values = recipe.model_dump(mode="json")
    return _HEAD.format(name=path) + yaml_text(values)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file; one that was changed by hand since it was fitted has no scores.

    Raises:
        SegfoldError: it cannot be read, or a key or value is wrong (the nearest valid one is named).
    """
    try:
        return Recipe.model_validate(read_yaml(path)).without_others_scores()
    except ValidationError as error:
        raise SegfoldError(f"{path}: " + problems(error, Recipe)) from None


def members_of(recipe: Recipe, entries: Sequence[Entry], source: str) -> tuple[list[Entry], list[str]]:
    """The runs that a recipe names, found by their weights, whatever their folders are called.

    Args:
        entries: runs in any order.
        source: the recipe's file, for messages.

    Returns:
        The runs, just as the recipe takes them, and a line for each run that it does not name.

    Raises:
        SegfoldError: a run that is not there, or was trained anew since.
    """
    found = []
    for name, member in recipe.members.items():
        fitting = [entry for entry in entries if _holds(entry, member.weights)]
        if not fitting:
            trained = any(entry.label == name or str(entry.folder.path) == member.run for entry in entries)
            problem = "has other weights now than the recipe was fitted with" if trained else "is not among the runs"
            raise SegfoldError(
                f"{source}: run {name} ({member.run}) {problem}; restore it, or fit a recipe anew without --recipe"
            )
        entry = next((entry for entry in fitting if entry.label == name), fitting[0])
        predict = entry.experiment.predict.model_copy(update={"tta": member.tta})
        found.append(
            replace(
                entry,
                experiment=entry.experiment.model_copy(update={"predict": predict}),
                done={fold: entry.done[fold] for fold in member.weights},
                label=name,
                weight=member.weight,
                named=dict(member.weights),
            )
        )
    used = {entry.folder.path for entry in found}
    left = [f"left out {entry.folder.path}: not in {source}" for entry in entries if entry.folder.path not in used]
    return found, left


def _holds(entry: Entry, weights: Mapping[int, Mapping[str, str]]) -> bool:
    """Whether a run has all of some sets of weights, by their hashes."""
    return all(
        entry.done.get(fold, {"weights": {}})["weights"].get(name) == digest
        for fold, digests in weights.items()
        for name, digest in digests.items()
    )
