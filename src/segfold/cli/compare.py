"""Compare two runs or ensembles image by image: which is better, by how much, how sure that is, and where.

Both are scored on the images that both have predicted out of fold. A run is scored at one half without post steps, a recipe
with its own threshold and steps.
"""

import argparse
from typing import TYPE_CHECKING, Any

from segfold.cli.shell import HOME
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.comparison.compare import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(name, type=user_path, help="a run folder, a recipe, or a submission with its recipe")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="score recipes too at one half without post steps")
    how.add_argument(
        "--nested",
        action="store_true",
        help="choose threshold and post steps of both anew for each part of the images, on the other parts",
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.progress import Progress
    from segfold.comparison.compare import compare
    from segfold.stopping import Stopping

    decided: Any = "plain" if arguments.plain else "nested" if arguments.nested else "own"
    with Stopping().installed(), Progress() as progress:
        found = compare(arguments.a, arguments.b, HOME, decided, observer=progress)
    _show(found)
    return 0


def _show(found: "Comparison") -> None:
    from rich.console import Console
    from rich.table import Table

    console, sides = Console(), (found.a, found.b)
    competition = found.a.gathered.competition
    title = f"out of fold, {found.found.images:,} images, {competition.metric}"
    scores = Table(title=title, title_justify="left")
    for column in ("", "name", "folds", "score ± se", "masks"):
        scores.add_column(column, justify="right" if "±" in column else "left")
    for letter, side, score in zip("AB", sides, (found.found.a, found.found.b)):
        scores.add_row(letter, side.name, ",".join(map(str, side.folds)), str(score), side.masks)
    console.print(scores)
    if found.differing:
        settings = Table(title="settings that differ", title_justify="left")
        for column in ("", "A", "B"):
            settings.add_column(column)
        for path, *values in found.differing:
            settings.add_row(path, *(_text(value) for value in values))
        console.print(settings)
    else:
        print("no setting differs")
    for each in found.tables:
        table = Table(title=f"by {each.title}", title_justify="left")
        for column in (each.title, "images", "A ± se", "B ± se", "B − A ± se", "adds"):
            table.add_column(column, justify="right" if column != each.title else "left")
        for group in each.groups:
            pair = group.found
            difference = f"{pair.difference:+.4f} ± {pair.standard_error:.4f}"
            table.add_row(group.name, f"{pair.images:,}", str(pair.a), str(pair.b), difference, f"{group.adds:+.4f}")
        console.print(table)
    for line in found.remarks:
        print(line)
    print(found.line)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
