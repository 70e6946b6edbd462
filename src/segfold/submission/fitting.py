"""The recipe for some runs: which of them, in what proportion, and what turns their blend into masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.ensemble import check_same_folds
from segfold.ensemble.axes import threshold_axis
from segfold.ensemble.choice import Choice
from segfold.ensemble.contribution import correlation, disagreement, leave_one_out
from segfold.ensemble.disputed import Disputed
from segfold.ensemble.fit import Blends, OofSource, oof_source
from segfold.ensemble.members import Predicted
from segfold.ensemble.recipe import Recipe, RecipeStrategy, recipe_of
from segfold.ensemble.strategies import EQUAL, FEW, METHODS, SINGLE, Costs, Judge, Strategy, Weighing, best_of
from segfold.ensemble.wanted import Wanted
from segfold.errors import SegfoldError
from segfold.metrics import CountMetric, Metric, ScoreSums
from segfold.observer import SILENT, Observer
from segfold.post.threshold import threshold_code
from segfold.submission.blended import Contributions, SubmissionOptions
from segfold.tasks import Task

_SECONDS = 1 << 29  # codes of all runs together that are compared in some seconds


@dataclass(frozen=True)
class FittedRecipe:
    """A recipe, and the runs that it takes.

    Attributes:
        members: those that it takes, with their weights.
        contributions: what each run adds, and how alike they are; None where there is nothing to compare.
    """

    recipe: Recipe
    members: list[Predicted]
    contributions: Contributions | None = None


def fit_recipe(
    members: Sequence[Predicted],
    competition: Competition,
    train: ImageSet,
    test: ImageSet,
    options: SubmissionOptions,
    observer: Observer = SILENT,
) -> FittedRecipe:
    """The recipe for some runs, chosen on what they have predicted out of fold.

    Args:
        observer: told of images that a run has not predicted out of fold, and of the search.

    Raises:
        SegfoldError: runs of different fold files, options that do not fit, a budget that no run keeps.
    """
    mixed = _mixed_folds(members, options)
    wanted = Wanted(options.threshold, options.min_area, options.gate, options.steps)
    source = oof_source(members, competition, train, mixed, observer, options.combine)
    blends = Blends(source, test, wanted)
    names = _ways(members, options, competition.scorer, observer)
    costs = _costs(members, len(test), options.budget)
    if not names:
        weights = tuple(member.entry.weight for member in members)
        if not costs.fits(weights):
            raise _beyond(costs, weights)
        choice = blends.chooser(weights).choice(source.nested_over)
        return _fitted(source, weights, choice)
    thresholds = _thresholds(options.threshold, competition.task)
    disputed = Disputed.of([each.oof for each in members], source.ids, source.images(), source.combination, thresholds)
    parts = sorted(set(source.part.tolist())) if source.has_parts else []
    judge = Judge(
        blends.images,
        partial(blends.chooser, few=True),
        Weighing(disputed, costs),
        parts if len(parts) > 1 else [],
    )
    strategies = judge.strategies(names, observer)
    labels = [member.entry.label for member in members]
    shown = options.dry_run or len(members) <= FEW
    alone = [judge.alone(number, label) for number, label in enumerate(labels)] if shown else []
    chosen = best_of(strategies) if options.weights is None else _asked(strategies, options)
    blends.forget()
    observer.note("choosing threshold and post steps")
    choice = blends.chooser(chosen.weights).choice(source.nested_over)
    if not chosen.steady:
        found = judge.nested_features(chosen.by_part, blends.chooser)
        assert found is not None
        scores = replace(choice.scores, nested=ScoreSums.of(found).score(competition.scorer))
        choice = replace(choice, scores=scores)
    fitted = _fitted(source, chosen.weights, choice, strategies, chosen, alone)
    return replace(fitted, contributions=_contributions(disputed, source, chosen.weights, options.dry_run))


def _costs(members: Sequence[Predicted], images: int, budget: float | None) -> Costs:
    measured = (member.seconds_an_image for member in members)
    return Costs([None if seconds is None else seconds * images for seconds in measured], budget)


def _thresholds(fixed: float | None, task: Task) -> list[int] | None:
    """Codes at which weights are searched for; None for one half.

    Raises:
        SegfoldError: a threshold that is no probability above 0.
    """
    if fixed is None or task.exclusive:
        return None
    threshold_axis(fixed)
    return [threshold_code(fixed)] * len(task.classes)


def _asked(strategies: Sequence[Strategy], options: SubmissionOptions) -> Strategy:
    """The way that a user names."""
    found = [each for each in strategies if each.name == options.weights]
    if not found:
        raise SegfoldError(
            f"--weights {options.weights}: no such ensemble keeps --budget {options.budget:g}; allow more"
        )
    return found[0]


def _contributions(disputed: Disputed, source: OofSource, weights: Sequence[float], whole: bool) -> Contributions:
    """What each run adds, and how alike they are: that takes a pass over all predictions, so of many only where ``whole``."""
    adds = leave_one_out(disputed, weights)
    codes = int(disputed.pixels.counted.sum()) * len(disputed.images.task.classes) * len(disputed.names)
    if codes > _SECONDS and not whole:
        return Contributions(disputed.names, adds, None, None)
    alike = correlation([member.oof for member in source.members], source.ids)
    return Contributions(disputed.names, adds, alike, disagreement(disputed))


def _ways(members: Sequence[Predicted], options: SubmissionOptions, metric: Metric, observer: Observer) -> list[str]:
    """The ways to weigh the runs that are to be tried; none where there is nothing to weigh."""
    if isinstance(options.weights, str):
        if options.weights not in METHODS:
            raise SegfoldError(f"--weights {options.weights}: expected numbers, or one of {', '.join(METHODS)}")
        return list(dict.fromkeys([SINGLE, options.weights])) if len(members) > 1 else []
    if options.weights is not None or len(members) == 1:
        return []
    if not isinstance(metric, CountMetric):
        observer.say(
            "weights are not searched for, as the metric sees whole masks and each try takes long: "
            "ask for it with --weights greedy or --weights simplex"
        )
    elif not options.mixed_folds:
        return list(METHODS)
    return [SINGLE, EQUAL]


def _fitted(
    source: OofSource,
    weights: Sequence[float],
    choice: Choice,
    strategies: Sequence[Strategy] = (),
    chosen: Strategy | None = None,
    alone: Sequence[Strategy] = (),
) -> FittedRecipe:
    given = chosen is None
    members = [member for member in source.weighed(weights) if given or member.entry.weight]
    labels = [member.entry.label for member in source.members]
    recipe = recipe_of(
        source.competition.name,
        members,
        choice,
        source.combination,
        weighed=None if chosen is None else f"{chosen.name}: {METHODS[chosen.name]}",
        strategies={each.name: _recorded(each, labels) for each in strategies},
        alone={each.name: _recorded(each, labels) for each in alone},
    )
    return FittedRecipe(recipe, members)


def _recorded(strategy: Strategy, labels: Sequence[str]) -> RecipeStrategy:
    gain = strategy.gain
    return RecipeStrategy(
        weights={label: weight for label, weight in zip(labels, strategy.weights) if weight},
        plain=strategy.plain,
        tuned=strategy.tuned,
        nested=strategy.nested,
        gain=None if gain is None else (gain.difference, gain.standard_error, gain.probability),
        seconds=strategy.seconds,
    )


def _beyond(costs: Costs, weights: Sequence[float]) -> SegfoldError:
    taken = costs.of(weights)
    what = "was not measured: predict them anew" if taken is None else f"takes {taken:.0f} s"
    return SegfoldError(
        f"--budget {costs.budget:g}: predicting the test set with the given runs {what}; leave some out"
    )


def _mixed_folds(members: Sequence[Predicted], options: SubmissionOptions) -> bool:
    """Whether the members' folds differ, where that is allowed."""
    try:
        check_same_folds([member.oof for member in members])
    except SegfoldError as error:
        if not options.mixed_folds:
            raise SegfoldError(f"{error}, or allow it with --mixed-folds") from None
        return True
    return False
