"""The second half of `segfold submit`: blend, choose, write, and say what came out."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from segfold.cli.members import Entry
from segfold.cli.shell import HOME
from segfold.competition import Competition, data_folder
from segfold.data.images import ImageSet
from segfold.data.table import read_table
from segfold.ensemble import (
    Choice,
    Grid,
    OofMember,
    TestMember,
    blend,
    check_same_folds,
    choose,
    common_ids,
    grid_scores,
)
from segfold.errors import SegfoldError
from segfold.metrics import METRICS
from segfold.post import MinArea, Threshold
from segfold.submission.check import csv_problems
from segfold.submission.write import write_submission

RUNS_IN_A_NAME = 4


def blend_and_write(
    arguments: argparse.Namespace,
    competition: Competition,
    entries: Sequence[Entry],
    oof: Sequence[OofMember],
    tests: Sequence[TestMember],
    train: ImageSet,
    test: ImageSet,
) -> Path:
    """Choose on the out-of-fold blend, write the test blend; returns the CSV's path."""
    weights = _weights(arguments.weights, entries)
    if not arguments.mixed_folds:
        check_same_folds(oof)
    common = common_ids(oof)
    for line in common.lines():
        print(line)
    choice = _choose(competition, oof, weights, common.ids, train, _grid(arguments, train, test, common.ids))
    names = [entry.folder.name for entry in entries]
    default = "+".join(names) if len(names) <= RUNS_IN_A_NAME else f"{names[0]}+{len(names) - 1}-more"
    path = HOME / "submissions" / f"{arguments.name or default}.csv"
    order = _sample_ids(competition)
    shapes = {str(name): (int(h), int(w)) for name, (h, w, _) in zip(test.ids, test.images.shapes)}
    manifest = write_submission(
        path,
        _masks(tests, weights, order, choice),
        competition,
        order,
        lambda file: csv_problems(file, competition, shapes),
        {
            "members": [
                {
                    "run": str(entry.folder.path),
                    "folds": sorted(entry.done),
                    "weight": weight,
                    "weights": {fold: done["weights"] for fold, done in sorted(entry.done.items())},
                }
                for entry, weight in zip(entries, weights)
            ],
            "threshold": choice.threshold,
            "min_area": choice.min_area,
            "metric": competition.metric,
            "cv": choice.as_record(),
            "cv_images": len(common.ids),
        },
    )
    _show(path, competition, entries, weights, choice, len(common.ids), manifest["empty_share"], train)
    return path


def _weights(given: Sequence[float] | None, entries: Sequence[Entry]) -> list[float]:
    if given is None:
        return [1.0] * len(entries)
    if len(given) != len(entries):
        names = ", ".join(entry.folder.name for entry in entries)
        raise SegfoldError(
            f"--weights has {len(given)} numbers for {len(entries)} usable runs ({names}); give one a run"
        )
    return list(given)


def _grid(arguments: argparse.Namespace, train: ImageSet, test: ImageSet, ids: Sequence[str]) -> Grid:
    pixels, of_test = (images.images.shapes[:, :2].prod(axis=1) for images in (train, test))
    largest = round(float((train.coverage * pixels)[train.position(ids)].max()))
    return Grid.of(largest, int(max(pixels.max(), of_test.max())), arguments.threshold, arguments.min_area)


def _choose(
    competition: Competition,
    oof: Sequence[OofMember],
    weights: Sequence[float],
    ids: Sequence[str],
    train: ImageSet,
    grid: Grid,
) -> Choice:
    masks = train.masks
    assert masks is not None
    position = dict(zip(ids, train.position(ids)))
    seen, scores = grid_scores(
        blend(oof, weights, ids), lambda name: masks[position[name]], METRICS[competition.metric], grid
    )
    return choose(seen, scores, [oof[0].fold_of[name] for name in seen], grid)


def _sample_ids(competition: Competition) -> list[str]:
    path = data_folder(competition, HOME) / competition.sample_submission
    return list(read_table(path, [competition.id_column])[competition.id_column])


def _masks(
    tests: Sequence[TestMember], weights: Sequence[float], order: Sequence[str], choice: Choice
) -> Iterator[tuple[str, np.ndarray]]:
    threshold, components = Threshold(value=choice.threshold), MinArea(min_area=choice.min_area)
    for name, codes in blend(tests, weights, order):
        yield name, components(threshold(codes[0]))


def _edge_lines(choice: Choice) -> Iterator[str]:
    if "threshold" in choice.at_edge:
        yield (
            f"the best threshold, {choice.threshold:.2f}, is the last one that was tried: "
            "a better one may lie beyond, set it with --threshold"
        )
    if "min_area" in choice.at_edge:
        yield (
            f"the best smallest component, {choice.min_area} pixels, is the largest that was tried: "
            "a better one may lie beyond, set it with --min-area"
        )


def _show(
    path: Path,
    competition: Competition,
    entries: Sequence[Entry],
    weights: Sequence[float],
    choice: Choice,
    images: int,
    empty_share: float,
    train: ImageSet,
) -> None:
    console = Console()
    members = Table(title=f"ensemble for {competition.name}", title_justify="left")
    for name in ("run", "folds", "weight", "mean fold score"):
        members.add_column(name, justify="left" if name == "run" else "right")
    for entry, weight in zip(entries, weights):
        scores = [done["score"] for done in entry.done.values()]
        members.add_row(
            entry.folder.name, ",".join(map(str, sorted(entry.done))), f"{weight:g}", f"{np.mean(scores):.4f}"
        )
    console.print(members)
    table = Table(title=f"out of fold, {images:,} images, {competition.metric}", title_justify="left")
    for name in ("", "threshold", "smallest component", "score ± se"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("plain", "0.50", "0", str(choice.plain))
    table.add_row("as tuned (flatters)", f"{choice.threshold:.2f}", str(choice.min_area), str(choice.tuned))
    if choice.nested is not None:
        table.add_row(f"nested over {choice.nested_over}", "", "", str(choice.nested))
    console.print(table)
    for line in _edge_lines(choice):
        print(line)
    print(f"empty masks: {empty_share:.1%} predicted, {np.mean(train.coverage == 0):.1%} in the training set")
    print(f"{path}: checked; manifest beside it")
