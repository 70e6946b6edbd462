"""Tables of how the runs of an ensemble were weighed, and of what each adds."""

from rich.console import Console
from rich.table import Table

from segfold.cli.progress import duration
from segfold.ensemble.recipe import Recipe, RecipeStrategy
from segfold.ensemble.strategies import METHODS
from segfold.submission.blended import Contributions


def strategy_table(console: Console, recipe: Recipe) -> None:
    """Each way to weigh the runs: at one half, tuned, nested, and its gain over the best run alone; the chosen one in bold."""
    if not recipe.strategies:
        return
    timed = any(tried.seconds is not None for tried in recipe.strategies.values())
    table = Table(title="ways to weigh the runs, out of fold", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("weights", overflow="fold")
    for name in ("at 0.50", "tuned", "nested ± se", "over the best run", "p", *(["predicts in"] if timed else [])):
        table.add_column(name, justify="right", no_wrap=name not in ("over the best run", "predicts in"))
    chosen = (recipe.weighed or "").partition(":")[0]
    for number, (name, tried) in enumerate(recipe.alone.items(), 1):
        table.add_row(name, "", *_scores(tried, timed), end_section=number == len(recipe.alone))
    for name, tried in recipe.strategies.items():
        style = "bold" if name == chosen else ""
        table.add_row(name, weights_text(tried), *_scores(tried, timed), style=style)
    console.print(table)
    if chosen:
        print(f"chosen: {METHODS[chosen]}" + _why(recipe, chosen))


def contribution_tables(console: Console, found: Contributions, alike: bool) -> None:
    """What each run of the chosen blend adds to the others, and where it is asked for how ``alike`` all of them are."""
    if len(found.adds) > 1:
        table = Table(title="what each run adds to the others, at 0.50", title_justify="left")
        for name in ("run", "weight", "adds", "p"):
            table.add_column(name, justify="left" if name == "run" else "right")
        whole = sum(each.weight for each in found.adds)
        for each in found.adds:
            if each.adds is not None:
                gain = f"{each.adds.difference:+.4f} ± {each.adds.standard_error:.4f}"
                table.add_row(each.name, f"{each.weight / whole:.2f}", gain, f"{each.adds.probability:.2f}")
        console.print(table)
    if not alike:
        return
    for title, matrix, form in (
        ("correlation of the probabilities", found.correlation, ".3f"),
        ("pixels that two runs decide differently", found.disagreement, ".2%"),
    ):
        if matrix is not None and len(found.names) > 1:
            table = Table(title=title, title_justify="left")
            for name in ("", *found.names):
                table.add_column(name, justify="left" if not name else "right")
            for name, row in zip(found.names, matrix):
                table.add_row(name, *(format(value, form) for value in row))
            console.print(table)


def weights_text(tried: RecipeStrategy) -> str:
    """``a 0.60, b 0.40``: shares, the largest first."""
    whole = sum(tried.weights.values())
    ordered = sorted(tried.weights.items(), key=lambda each: -each[1])
    return ", ".join(f"{label} {weight / whole:.2f}" for label, weight in ordered)


def _scores(tried: RecipeStrategy, timed: bool) -> list[str]:
    """Cells of the table behind the weights."""
    nested = "–" if tried.nested is None else str(tried.nested)
    cells = [f"{tried.plain.mean:.4f}", f"{tried.tuned.mean:.4f}", nested, "", ""]
    if tried.gain is not None:
        difference, error, probability = tried.gain
        cells[3:] = [f"{difference:+.4f} ± {error:.4f}", f"{probability:.2f}"]
    if timed:
        cells.append("not measured" if tried.seconds is None else duration(tried.seconds))
    return cells


def _why(recipe: Recipe, chosen: str) -> str:
    """What a reader of the table may wonder about."""
    nested = {name: tried.nested.mean for name, tried in recipe.strategies.items() if tried.nested is not None}
    if len(nested) < 2:
        return ""
    if nested[chosen] < max(nested.values()):
        return ": what scores higher is not told from it, its gain is less than half of its standard error"
    return ": the best nested score"
