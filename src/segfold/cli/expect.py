"""What a submission is to be expected to score on the leaderboard, with the interval and the medal lines.

Its out-of-fold scores are resampled to the size of the public and the private part of the test set. That is arithmetic: how far
the test images are of another kind, and what the mean over folds gains, is learnt from three submissions with known scores.
"""

import argparse
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.comparison.expectation import Expectation
    from segfold.statistics.expected import Interval
    from segfold.statistics.offset import Offset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=user_path, help="a submission with its recipe beside it, a recipe, or a run folder"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli.progress import Progress
    from segfold.comparison.expectation import expect
    from segfold.stopping import Stopping

    with Stopping().installed(), Progress() as progress:
        found = expect(arguments.path, HOME, progress)
    show_expectation(found)
    return 0


def show_expectation(found: "Expectation") -> None:
    """A table of what is expected on each part, what it rests on, and the medal lines."""
    from rich.console import Console
    from rich.table import Table

    side, expected, competition = found.side, found.expected, found.side.gathered.competition
    how = "nested" if found.nested else f"as it is, {side.masks}"
    print(f"{side.name}: {competition.metric} {found.cv} out of fold ({how}, {len(side.ids):,} images)")
    table = Table(title=f"expected of {side.name}", title_justify="left")
    for column in ("part", "images", "offset", "expected", "95 % interval", "scored"):
        table.add_column(column, justify="left" if column == "part" else "right")
    scored = found.scored
    rows: list[tuple[str, Interval | None, str, float | None]] = [
        ("public", expected.public, _offset(found.offset), None if scored is None else scored.public),
        ("private", expected.private, _offset(found.private_offset), None if scored is None else scored.private),
    ]
    if expected.public is None:
        rows.append(("all", expected.whole, "unknown", None))
    for name, interval, offset, score in rows:
        if interval is not None:
            span = f"{interval.low:.4f} to {interval.high:.4f}"
            known = "" if score is None else f"{score:.4f}"
            table.add_row(name, f"{interval.images:,}", offset, f"{interval.expected:.4f}", span, known)
    Console().print(table)
    if expected.public is None:
        print(
            f"no leaderboard.public in the competition file of {competition.name}: its share of the images is unknown"
        )
    parts = ("public", found.offset, found.public_pairs), ("private", found.private_offset, found.private_pairs)
    for name, shift, pairs in parts:
        if shift is None:
            print(
                f"offset of {name} scores from CV: unknown until 3 other submissions have both, {_count(pairs)} so far"
            )
        else:
            print(
                f"offset of {name} scores from CV: {shift}, from {pairs} other submissions, apart by {shift.spread:.4f}"
            )
    final = expected.private or expected.whole
    if lines := sorted(found.leaderboard.lines.items(), key=lambda item: -item[1]):
        table = Table(title="lines of the private leaderboard", title_justify="left")
        for column in ("", "score", "probability of reaching it"):
            table.add_column(column, justify="right" if column else "left")
        for name, line in lines:
            table.add_row(name, f"{line:.5f}", _chance(final.chance(line)))
        Console().print(table)


def _offset(offset: "Offset | None") -> str:
    return "unknown" if offset is None else f"{offset.mean:+.4f}"


def _count(pairs: int) -> str:
    return "none" if pairs == 0 else str(pairs)


def _chance(share: float) -> str:
    return "<0.001" if share < 0.001 else ">0.999" if share > 0.999 else f"{share:.2f}"
