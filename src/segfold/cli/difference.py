"""`submit.py --diff A.csv B.csv`: the images whose masks changed most, as a table and as a PNG sheet."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, remark, whole_number
from segfold.errors import SegfoldError
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.competition import Competition
    from segfold.submission.difference import Difference

LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--diff",
        nargs=2,
        type=user_path,
        metavar=("A", "B"),
        help="make nothing, but list and draw the images whose masks differ most between two submissions",
    )
    parser.add_argument(
        "--out", type=user_path, metavar="PNG", help="of --diff: the sheet (default: A-vs-B.png beside A)"
    )
    parser.add_argument(
        "--images", type=whole_number, default=24, metavar="N", help="of --diff: how many are drawn (24)"
    )


def run(arguments: argparse.Namespace) -> int:
    import cv2

    from segfold.competition import data_folder, load_competition
    from segfold.data.images import load_split
    from segfold.files import write_atomic
    from segfold.submission.check import image_shapes
    from segfold.submission.difference import draw_difference, find_difference, stated_shapes

    if arguments.ensemble or arguments.recipe is not None:
        raise SegfoldError("--diff compares two submissions that are there: leave --ensemble and --recipe out")
    if not 1 <= arguments.images <= 200:
        raise SegfoldError(f"--images {arguments.images}: expected 1 to 200")
    before, after = arguments.diff
    competition = load_competition(arguments.competition or _competition_of(before) or "tgs-salt", HOME)
    there = data_folder(competition, HOME).is_dir()
    shapes = image_shapes(competition, HOME, remark) if there else stated_shapes(before, competition)
    found = find_difference(before, after, competition, shapes)
    _show(found, competition)
    if found.changes:
        test = load_split(competition, "test", HOME) if there else None
        sheet = draw_difference(found.changes[: arguments.images], before, after, competition, shapes, test)
        path = arguments.out or before.with_name(f"{before.stem}-vs-{after.stem}.png")
        with write_atomic(path) as file:
            file.write(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
        drawn = min(len(found.changes), arguments.images)
        print(f"{path}: {drawn:,} image{'s' * (drawn > 1)}, each with the mask of {before.name} and of {after.name}")
    return 0


def _competition_of(path: Path) -> str | None:
    """What a submission's manifest says, if it has one."""
    from segfold.files import read_json
    from segfold.submission.names import manifest_path

    manifest = manifest_path(path)
    found = read_json(manifest) if manifest.is_file() else None
    name = found.get("competition") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def _show(found: "Difference", competition: "Competition") -> None:
    from rich.console import Console
    from rich.table import Table

    changes, images = found.changes, found.score.images
    if not changes:
        print(f"the same masks of all {images:,} images")
        return
    classes = [competition.task.classes[label] for label in competition.task.rows]
    several = len(classes) > 1
    table = Table(title="images whose masks changed most", title_justify="left")
    for name in ("image", competition.metric, "pixels changed", *(["class"] if several else []), "before", "after"):
        table.add_column(name, justify="left" if name in ("image", "class") else "right")
    for change in changes[:LISTED]:
        place = change.most
        named = [classes[place]] if several else []
        areas = f"{change.before[place]:,}", f"{change.after[place]:,}"
        table.add_row(change.image, f"{change.score:.4f}", f"{change.pixels:,}", *named, *areas)
    Console().print(table)
    line = f"{len(changes):,} of {images:,} images changed; held to the first, the second scores {found.score} ({competition.metric})"
    if competition.task.empty((1, 1)) is not None:
        emptied = sum(1 for change in changes if sum(change.before) and not sum(change.after))
        filled = sum(1 for change in changes if sum(change.after) and not sum(change.before))
        line += f"; {emptied:,} emptied, {filled:,} no longer empty"
    print(line)
