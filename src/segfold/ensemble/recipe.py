"""The recipe: all that turns stored predictions into masks, as a small YAML file that is written, read and applied again."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, BeforeValidator, StringConstraints, ValidationError, model_validator

from segfold.ensemble.axes import Axis
from segfold.ensemble.choice import Choice
from segfold.ensemble.combine import ALL, COMBINATIONS, MEAN, Combination
from segfold.ensemble.members import Predicted
from segfold.ensemble.search import Scores
from segfold.ensemble.wanted import NO_EMPTY, NO_THRESHOLD, can_be_taken
from segfold.errors import SegfoldError
from segfold.metrics import MeanScore
from segfold.post import POST, Decision, Decisions
from segfold.schema import Settings, Weight, named_map, problems
from segfold.tasks import Task
from segfold.yaml_file import read_yaml, yaml_text

_LONG = 1 << 22  # characters of a distribution
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


def _known(values: Any) -> Any:
    """Post steps with checked settings, in their order."""
    try:
        checked = dict(_STEPS.model_validate(values).items())
    except ValidationError as error:
        raise ValueError(problems(error, _STEPS)) from None
    return {name: checked[name].model_dump() for name in values if name in checked}


def _combined(name: str) -> str:
    if name not in COMBINATIONS:
        near = difflib.get_close_matches(name, COMBINATIONS, n=1, cutoff=0.0)[0]
        raise ValueError(f"expected one of {', '.join(COMBINATIONS)} (nearest: {near})")
    return name


Threshold = Annotated[float, Gt(0), Le(1)]
Steps = Annotated[dict[str, dict[str, Any]], BeforeValidator(_known)]


class RecipeClass(Settings):
    """One of several classes in a recipe.

    Attributes:
        threshold: its own; None where what the recipe says for all classes holds for it too.
        steps: its own, if it has its own threshold.
        tried: see ``Recipe``.
        scores: of the class, in the competition's metric where that is a mean over classes, else its IoU over the set.
    """

    threshold: Threshold | None = None
    steps: Steps = {}  # noqa: RUF012
    tried: dict[str, list[Any]] = {}  # noqa: RUF012
    scores: Scores | None = None

    @model_validator(mode="after")
    def _of_its_own(self) -> "RecipeClass":
        if self.threshold is None and self.steps:
            raise ValueError("steps of its own need a threshold of its own beside them")
        return self


class RecipeStrategy(Settings):
    """A way to weigh the runs that was tried for a recipe.

    Attributes:
        weights: of each run that it takes.
        plain: score at a threshold of one half.
        tuned: with the threshold and what costs nothing beside it chosen on the images that they are scored on.
        nested: weights and choice made on the other parts, scored on each part.
        gain: of the nested masks over those of the best run alone, its standard error, and the probability that it is one.
        seconds: that predicting the test set takes.
    """

    weights: dict[str, float]
    plain: MeanScore
    tuned: MeanScore
    nested: MeanScore | None = None
    gain: tuple[float, float, float] | None = None
    seconds: float | None = None


class Recipe(Settings):
    """What a recipe file holds.

    Attributes:
        format: of this file.
        competition: its name.
        members: runs by their names.
        combine: how they are combined: ``mean`` is the weighted mean of their probabilities.
        fitted: of a rank mean, the distribution of each member's out-of-fold probabilities.
        weighed: how the weights were found.
        strategies: the ways to weigh the runs that were tried for it.
        alone: what each run scores by itself.
        threshold: probability from which a pixel is foreground; None where each class has its own, or the most probable
            one is taken.
        steps: post steps by name with their settings, in the order in which they are taken.
        tried: for each step, and for the threshold, what was tried.
        classes: of several classes, what is of each alone.
        scores: out of fold: plain, as tuned, and nested; of each trial too.
        scored: hash of the members and the decision that the scores are of.
    """

    format: Literal[1]
    competition: str
    members: Annotated[dict[str, RecipeMember], MinLen(1)]
    combine: Annotated[str, AfterValidator(_combined)] = MEAN.name
    weighed: str | None = None
    threshold: Threshold | None = 0.5
    steps: Steps = {}  # noqa: RUF012
    tried: dict[str, list[Any]] = {}  # noqa: RUF012
    classes: dict[str, RecipeClass] = {}  # noqa: RUF012
    scores: Scores | None = None
    scored: str | None = None
    strategies: dict[str, RecipeStrategy] = {}  # noqa: RUF012
    alone: dict[str, RecipeStrategy] = {}  # noqa: RUF012
    fitted: dict[str, Annotated[str, StringConstraints(max_length=_LONG)]] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _combined_as_fitted(self) -> "Recipe":
        if self.combine == "rank":
            missing = [name for name in (ALL, *self.members) if name not in self.fitted]
            if missing:
                raise ValueError(f"combine is rank, and fitted lacks {missing[0]}; fit the recipe anew")
        return self

    def decisions(self, task: Task, source: str = "recipe") -> Decisions:
        """Thresholds and post steps of a competition's classes.

        Args:
            source: what to call the recipe in messages.

        Raises:
            SegfoldError: a class that the competition has not, or a threshold or step that means nothing for its classes.
        """
        own = {name: each for name, each in self.classes.items() if each.threshold is not None}
        for name in self.classes:
            if name not in task.classes:
                near = difflib.get_close_matches(name, task.classes, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(task.classes)}"
                raise SegfoldError(f"{source}: classes.{name} is no class of the competition; {hint}")
        if task.exclusive:
            if own:
                raise SegfoldError(f"{source}: classes.{next(iter(own))}.threshold: {NO_THRESHOLD}; leave it out")
            for name in self.steps:
                if not can_be_taken(name, task):
                    raise SegfoldError(f"{source}: steps.{name}: {NO_EMPTY}; leave it out")
            return Decisions(task, (Decision.of(None, self.steps),))
        if self.threshold is None and (missing := [name for name in task.classes if name not in own]):
            raise SegfoldError(f"{source}: no threshold for {', '.join(missing)}; give one in classes, or one for all")
        shared = Decision.of(self.threshold, self.steps)
        if not own:
            return Decisions(task, (shared,))
        each = (own.get(name) for name in task.classes)
        return Decisions(task, tuple(shared if one is None else Decision.of(one.threshold, one.steps) for one in each))

    @property
    def step_names(self) -> set[str]:
        """Names of the post steps that it takes, of all classes or of one."""
        return {name for steps in (self.steps, *(each.steps for each in self.classes.values())) for name in steps}

    @property
    def settings(self) -> dict[str, Any]:
        """Thresholds and steps, of all classes and of those that have their own, for records."""
        own = {name: each for name, each in self.classes.items() if each.threshold is not None}
        of_all = {"threshold": self.threshold, "steps": self.steps}
        by_class = {name: {"threshold": each.threshold, "steps": each.steps} for name, each in own.items()}
        return of_all | ({"classes": by_class} if by_class else {})

    @property
    def digest(self) -> str:
        """Hash of what its scores depend on; the order of the members is not among it, that of the steps is."""
        members = {name: member.model_dump(mode="json") for name, member in self.members.items()}
        made: list[Any] = [members, self.combine, self.threshold, list(self.steps.items())]
        if self.fitted:
            made.append(self.fitted)
        if by_class := self.settings.get("classes"):
            made.append(
                [[name, each["threshold"], list(each["steps"].items())] for name, each in sorted(by_class.items())]
            )
        return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()

    def without_others_scores(self) -> "Recipe":
        """The same, but without scores that are not its own: a recipe that was changed by hand has none."""
        if self.scored == self.digest:
            return self
        classes = {name: each.model_copy(update={"scores": None}) for name, each in self.classes.items()}
        return self.model_copy(
            update={"classes": classes, "scores": None, "scored": None, "strategies": {}, "alone": {}}
        )


def recipe_of(
    competition: str, members: Sequence[Predicted], choice: Choice, combination: Combination = MEAN, **kept: Any
) -> Recipe:
    """The recipe of members and what was chosen for them.

    Args:
        kept: other attributes of the recipe.
    """
    shared = choice.shared
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
        threshold=None if shared is None else shared.fitted.decision.threshold,
        steps={} if shared is None else shared.fitted.decision.settings,
        tried={} if shared is None else _tried(shared.axes),
        classes={name: _class(choice, name) for name in choice.class_scores},
        scores=choice.scores,
        combine=combination.name,
        fitted=combination.fitted_of([member.entry.label for member in members]),
        **kept,
    )
    return recipe.model_copy(update={"scored": recipe.digest})


def _class(choice: Choice, name: str) -> RecipeClass:
    scores = choice.class_scores[name]
    if choice.shared is not None:
        return RecipeClass(scores=scores)
    own = choice.classes[name]
    decision = own.fitted.decision
    return RecipeClass(threshold=decision.threshold, steps=decision.settings, tried=_tried(own.axes), scores=scores)


def _tried(axes: Sequence[Axis]) -> dict[str, list[Any]]:
    return {axis.name: [axis.values[i] for i in axis.open] for axis in axes}


def recipe_text(recipe: Recipe, path: Path) -> str:
    """YAML text of a recipe for a file at ``path``; ``read_recipe`` gives the same recipe back."""
    values = recipe.model_dump(mode="json")
    for name in ("classes", "fitted", "strategies", "alone", "weighed"):
        if not values[name]:
            del values[name]
    for each in values.get("classes", {}).values():
        for empty in [key for key, value in each.items() if not value and not (key == "steps" and each["threshold"])]:
            del each[empty]
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
