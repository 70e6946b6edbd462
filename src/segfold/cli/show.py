"""Tables at the end of a verb's work."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from segfold.cli.progress import duration
from segfold.cli.show_weights import contribution_tables, strategy_table
from segfold.competition import Competition
from segfold.ensemble import Scores
from segfold.ensemble.recipe import Recipe
from segfold.predicting import PredictedStore
from segfold.runs.folder import RunFolder
from segfold.runs.identity import comparable_folds
from segfold.submission.blended import Submitted

_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "score": lambda done: f"{done['score']:.4f}",
    "± se": lambda done: f"{done['standard_error']:.4f}",
    "IoU": lambda done: f"{done['iou']:.4f}",
    "Dice": lambda done: f"{done['dice']:.4f}",
    "epochs": lambda done: str(done["epochs"]),
    "samples": lambda done: f"{done['samples']:,}",
    "img/s": lambda done: f"{done['samples'] / max(done['seconds'], 1e-9):.1f}",
    "time": lambda done: duration(done["seconds"]),
}


def fold_table(folder: RunFolder, done: dict[str, Any]) -> None:
    """The finished folds of a run, the present one marked."""
    if problem := run_table(folder, done["fold"]):
        print(f"no mean over folds: {problem}")
    if classes := done.get("classes"):
        table = Table(title=f"fold {done['fold']} by class", title_justify="left")
        table.add_column("class")
        table.add_column("IoU ± se", justify="right")
        for name, found in classes.items():
            table.add_row(name, f"{found['iou']:.4f} ± {found['standard_error']:.4f}")
        Console().print(table)


def run_table(folder: RunFolder, present: int | None = None) -> str | None:
    """The finished folds of a run with their mean.

    Args:
        present: number of the fold to mark.

    Returns:
        Why no mean is shown, see ``comparable_folds``.
    """
    table = Table(title=f"{folder.path}", title_justify="left")
    for column in ("fold", *_COLUMNS):
        table.add_column(column, justify="right")
    found, problem = comparable_folds(folder)
    for number, values in found.items():
        table.add_row(str(number) + "*" * (number == present), *(_cell(values, name) for name in _COLUMNS))
    Console().print(table)
    if problem is None and len(found) > 1:
        folds = found.values()
        print(mean_line([done["score"] for done in folds], [done.get("standard_error") for done in folds]))
    return problem


def _cell(done: Mapping[str, Any], column: str) -> str:
    try:
        return _COLUMNS[column](done)
    except (KeyError, TypeError, ValueError):
        return "–"  # another version did not record it


def mean_line(scores: Sequence[float], errors: Sequence[float | None] = ()) -> str:
    """Mean over folds and its standard errors, as a line of text.

    Args:
        scores: of the folds.
        errors: their standard errors over images, from which that of the mean follows; None where one was not recorded.
    """
    count = len(scores)
    mean = sum(scores) / count
    spread = math.sqrt(sum((score - mean) ** 2 for score in scores) / (count - 1)) if count > 1 else 0.0
    line = f"mean over {count} folds: {mean:.4f} ± {spread / math.sqrt(count):.4f}"
    known = [error for error in errors if error]
    if len(known) < count:
        return line
    return f"{line} over the folds, ± {math.hypot(*known) / count:.4f} over their images"


def prediction_table(made: Sequence[PredictedStore]) -> None:
    """What has become of each store."""
    table = Table(title="predictions", title_justify="left")
    for name in ("run", "fold", "split", "weights", "images", "state"):
        table.add_column(name, justify="right" if name in ("fold", "images") else "left")
    for each in made:
        table.add_row(each.run, str(each.fold), each.split, each.weights, f"{each.images:,}", each.state)
    Console().print(table)


def submission_tables(made: Submitted) -> None:
    """What a submission was made of, what it scores out of fold, and where it is."""
    competition, recipe, written = made.competition, made.recipe, made.written
    console = Console()
    runs = Table(title=f"ensemble for {competition.name}", title_justify="left")
    for name in ("run", "folds", "weight", "mean fold score"):
        runs.add_column(name, justify="left" if name == "run" else "right")
    for entry, scores in ((member.entry, member.fold_scores) for member in made.members):
        mean = f"{np.mean(scores):.4f}" if scores else "–"
        runs.add_row(entry.label, ",".join(map(str, sorted(entry.done))), f"{entry.weight:g}", mean)
    console.print(runs)
    strategy_table(console, recipe)
    if made.contributions is not None:
        contribution_tables(console, made.contributions, alike=written is None)
    steps = _settings(recipe.threshold, recipe.steps)
    if recipe.scores is not None:
        _print_scores(console, recipe.scores, competition)
        for line in _edge_lines(recipe.scores, steps):
            print(line)
        _print_classes(console, recipe, competition)
    else:
        print("no score: nothing was fitted for this recipe as it stands")
    own = {name: each for name, each in recipe.classes.items() if each.threshold is not None}
    if len(own) < len(competition.task.classes):
        of_all = ["the most probable class"] if competition.task.exclusive else []
        print("masks: " + ", ".join([*of_all, *_texts(steps)]))
    for name, each in own.items():
        steps = _settings(each.threshold, each.steps)
        print(f"masks of {name}: " + ", ".join(_texts(steps)))
        for line in _edge_lines(each.scores, steps) if each.scores is not None else ():
            print(f"{name}: {line}")
    if written is None:
        print("a dry run: nothing is written")
        return
    share = written.manifest["empty_share"]
    truth = "" if made.empty_truth is None else f", {made.empty_truth:.1%} in the training set"
    print(f"empty masks: {share:.1%} predicted{truth}")
    print(
        f"{written.path}: "
        + ("the same as before, left as it is" if written.kept else "checked; manifest and recipe beside it")
    )


def _print_scores(console: Console, scores: Scores, competition: Competition) -> None:
    """Plain, each trial on top of what stayed before it, and all that stayed: as tuned, which flatters, and nested."""
    table = Table(title=f"out of fold, {scores.plain.images:,} images, {competition.metric}", title_justify="left")
    for name in ("", "setting", "as tuned", "nested ± se", ""):
        table.add_column(name, justify="left" if not name else "right")
    plain = "most probable" if competition.task.exclusive else "0.50"
    table.add_row("plain", plain, "", str(scores.plain), "")
    for trial in scores.trials:
        stays = "stays" if trial.kept else "no better"
        row = f"+ {trial.name}", _setting(trial.setting), f"{trial.tuned.mean:.4f}", str(trial.nested), stays
        table.add_row(*row)
    nested = "" if scores.nested is None else str(scores.nested)
    table.add_row("the whole choice", "", f"{scores.tuned.mean:.4f}", nested, "", style="bold")
    console.print(table)
    if scores.nested is None:
        print(f"no nested score ({scores.nested_over}): any choice has seen what it is scored on")
    else:
        print(f"nested, the score to believe: all chosen on the others, and scored on each, of {scores.nested_over}")
        if scores.trials and not any(trial.kept for trial in scores.trials):
            print("no step stays: what was not fixed is left plain")


def _print_classes(console: Console, recipe: Recipe, competition: Competition) -> None:
    """What each of several classes scores by the whole choice: nested, or as tuned where nothing is nested."""
    scored = {name: each.scores for name, each in recipe.classes.items() if each.scores is not None}
    if not scored:
        return
    metric = competition.metric if competition.scorer.by_class else "IoU over the set"
    nested = all(scores.nested is not None for scores in scored.values())
    table = Table(title=f"by class, {metric}", title_justify="left")
    for name in ("class", "plain", "nested ± se" if nested else "as tuned ± se"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for name, scores in scored.items():
        table.add_row(name, f"{scores.plain.mean:.4f}", str(scores.nested or scores.tuned))
    console.print(table)


def _settings(threshold: float | None, steps: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Texts by the name of what they set."""
    first = {} if threshold is None else {"threshold": _setting(threshold)}
    return first | {name: _setting(part) for name, part in steps.items()}


def _texts(settings: Mapping[str, str]) -> list[str]:
    return [f"{name} {setting}".rstrip() for name, setting in settings.items()]


def _setting(value: Any) -> str:
    """Of a threshold or a step, for people."""
    if isinstance(value, Mapping):
        return " ".join(f"{name} {part:g}" for name, part in value.items())
    return "left out" if value is None else f"{value:.2f}"


def _edge_lines(scores: Scores, steps: Mapping[str, str]) -> Iterator[str]:
    for name in scores.at_edge:
        option = {"threshold": "set it with --threshold", "components": "set it with --min-area"}
        yield (
            f"the best {name}, {steps.get(name, '')}, is at the end of what was tried: a better one may lie beyond, "
            f"{option.get(name, 'set it in the recipe and apply that with --recipe')}"
        )
