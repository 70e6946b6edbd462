"""Whether one run or ensemble is better than another, where, and in what they differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segfold.comparison.side import Decided, Side, differing, read_side
from segfold.errors import SegfoldError
from segfold.observer import SILENT, Observer
from segfold.statistics.bootstrap import Paired, paired
from segfold.statistics.groups import Group, by_group, coverage_groups, number_groups


@dataclass(frozen=True)
class Table:
    """Scores of both sides by groups of images.

    Attributes:
        title: what the images are grouped by.
    """

    title: str
    groups: Sequence[Group]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sides on the images that both have predicted out of fold.

    Attributes:
        found: how much better B is.
        tables: by coverage class, and by the numbers of each of the competition's tables.
        differing: setting, value of A, value of B.
        remarks: what to bear in mind, a line each.
    """

    a: Side
    b: Side
    found: Paired
    tables: Sequence[Table]
    differing: Sequence[tuple[str, Any, Any]]
    remarks: Sequence[str]

    @property
    def line(self) -> str:
        """The answer, as one would say it."""
        found = self.found
        low, high, chance = found.low, found.high, found.probability
        better, worse = self.b.name, self.a.name
        if found.difference < 0:
            better, worse = worse, better
            low, high, chance = 0.0 - high, 0.0 - low, 1 - chance
        if found.difference == 0 and found.standard_error == 0:
            return f"{worse} and {better} score alike on each of {found.images:,} images"
        certain = ">0.999" if chance > 0.999 else f"{chance:.2f}"
        return (
            f"{better} beats {worse} by {abs(found.difference):.4f} ± {found.standard_error:.4f} "
            f"(95 %: {low:+.4f} to {high:+.4f}), probability {certain}, on {found.images:,} images"
        )


def compare(
    a: Path,
    b: Path,
    home: Path = Path(),
    decided: Decided = "own",
    draws: int = 10_000,
    observer: Observer = SILENT,
) -> Comparison:
    """Compares two runs, ensembles, or one of each, by the paired bootstrap over the images that both predict.

    No network is scored on images that it was trained on, whatever the folds of the two are.

    Args:
        a: see ``read_side``.
        b: the same.
        home: the working folder.

    Raises:
        SegfoldError: sides of different competitions or without a common image, or as ``read_side`` says.
    """
    one, other = read_side(a, home, decided, observer), read_side(b, home, decided, observer)
    if one.name == other.name:
        one, other = replace(one, name=str(a)), replace(other, name=str(b))
    competition, train = one.gathered.competition, one.gathered.train
    against = other.gathered.competition
    if competition.name != against.name:
        raise SegfoldError(f"{a} is of {competition.name}, {b} of {against.name}; compare runs of one competition")
    if competition.scoring != against.scoring:
        raise SegfoldError(
            f"{a} is scored by {competition.metric}, {b} otherwise; compare runs of one competition file"
        )
    ids = sorted(set(one.ids) & set(other.ids))
    if not ids:
        raise SegfoldError(f"no image is predicted out of fold by both {a} and {b}; finish a fold that both have")
    rows = train.position(ids)
    groups = None if train.groups is None else train.groups[rows]
    metric, first, second = competition.scorer, _of(one, ids), _of(other, ids)

    def table(title: str, names: Sequence[str], number: np.ndarray) -> Table:
        return Table(title, by_group(names, number, first, second, metric, groups))

    tables = [table("coverage", *coverage_groups(train.coverage[rows]))]
    tables += [table(name, *number_groups(train.extra.loc[ids, name].to_numpy())) for name in train.extra.columns]
    return Comparison(
        one,
        other,
        paired(first, second, metric, draws, groups=groups),
        tables,
        differing(one, other),
        _remarks((one, other), ids, groups, decided),
    )


def _of(side: Side, ids: Sequence[str]) -> np.ndarray:
    position = {name: row for row, name in enumerate(side.ids)}
    return side.features[[position[name] for name in ids]]


def _remarks(sides: Sequence[Side], ids: Sequence[str], groups: np.ndarray | None, decided: Decided) -> list[str]:
    lines = []
    for side in sides:
        if len(side.ids) > len(ids):
            lines.append(f"{side.name} predicts {len(side.ids) - len(ids):,} further images, which are left out here")
        scores = None if side.recipe is None or decided != "own" else side.recipe.scores
        if scores is not None and scores.nested is not None and scores.tuned.mean > scores.nested.mean:
            lines.append(
                f"{side.name} was tuned on these images, which flatters it by about "
                f"{scores.tuned.mean - scores.nested.mean:.4f}: --nested chooses for each part on the others"
            )
    if groups is not None:
        lines.append(f"images of a group are drawn together: {len(set(groups.tolist())):,} groups")
    return lines
