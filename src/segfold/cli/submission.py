"""The second half of `segfold submit`: blend, choose, write, and say what came out."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from segfold.cli.members import Entry
from segfold.cli.shell import HOME
from segfold.competition import Competition, data_folder
from segfold.data.ids import one_form
from segfold.data.images import ImageSet
from segfold.data.table import read_table
from segfold.ensemble import (
    Choice,
    OofMember,
    TestMember,
    blend,
    check_same_folds,
    choose,
    common_ids,
    grid_scores,
)
from segfold.ensemble.select import AREAS, THRESHOLDS, Score
from segfold.errors import SegfoldError
from segfold.metrics import METRICS
from segfold.post import MinArea, Threshold
from segfold.submission.check import csv_problems, shapes_by_id
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
    choice = _choose(arguments, competition, oof, weights, common.ids, train)
    names = [entry.folder.name for entry in entries]
    default = "+".join(names) if len(names) <= RUNS_IN_A_NAME else f"{names[0]}+{len(names) - 1}-more"
    path = HOME / "submissions" / f"{arguments.name or default}.csv"
    order = _sample_ids(competition)
    shapes = shapes_by_id(test, order)
    manifest = write_submission(
        path,
        _masks(tests, weights, [one_form(name) for name in order], choice),
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


def _choose(
    arguments: argparse.Namespace,
    competition: Competition,
    oof: Sequence[OofMember],
    weights: Sequence[float],
    ids: Sequence[str],
    train: ImageSet,
) -> Choice:
    masks = train.masks
    assert masks is not None
    position = dict(zip(ids, train.position(ids)))
    thresholds, areas = _grid(arguments)
    seen, scores = grid_scores(
        blend(oof, weights, ids),
        lambda name: masks[position[name]],
        METRICS[competition.metric],
        thresholds,
        areas,
    )
    folds = [oof[0].fold_of[name] for name in seen]
    choice = choose(seen, scores, folds, thresholds, areas)
    if arguments.threshold is None and arguments.min_area is None:
        return choice
    return _fixed(arguments, choice, scores, thresholds, areas)


def _sample_ids(competition: Competition) -> list[str]:
    path = data_folder(competition, HOME) / competition.sample_submission
    return list(read_table(path, [competition.id_column], spelled=True)[competition.id_column])


def _masks(
    tests: Sequence[TestMember], weights: Sequence[float], order: Sequence[str], choice: Choice
) -> Iterator[tuple[str, np.ndarray]]:
    threshold, components = Threshold(value=choice.threshold), MinArea(min_area=choice.min_area)
    for name, codes in blend(tests, weights, order):
        yield name, components(threshold(codes[0]))


def _grid(arguments: argparse.Namespace) -> tuple[list[float], list[int]]:
    """What to score: always 0.5 and area 0 for the plain score, and the fixed values where some are given."""
    thresholds, areas = set(THRESHOLDS), set(AREAS)
    if arguments.threshold is not None:
        if not 0 < arguments.threshold <= 1:
            raise SegfoldError(f"--threshold {arguments.threshold}: expected a probability above 0 and up to 1")
        thresholds = {0.5, arguments.threshold}
    if arguments.min_area is not None:
        if arguments.min_area < 0:
            raise SegfoldError(f"--min-area {arguments.min_area}: expected 0 or more pixels")
        areas = {0, arguments.min_area}
    return sorted(thresholds), sorted(areas)


def _fixed(
    arguments: argparse.Namespace,
    choice: Choice,
    scores: np.ndarray,
    thresholds: Sequence[float],
    areas: Sequence[int],
) -> Choice:
    """The choice with what the user fixed in place; what is left open is chosen among what fits."""
    allowed_t = [arguments.threshold] if arguments.threshold is not None else list(thresholds)
    allowed_a = [arguments.min_area] if arguments.min_area is not None else list(areas)
    rows = [thresholds.index(value) for value in allowed_t]
    columns = [areas.index(value) for value in allowed_a]
    means = scores.mean(axis=0, dtype=np.float64)[np.ix_(rows, columns)]
    row, column = np.unravel_index(int(means.argmax()), means.shape)
    tuned = Score.of(scores[:, rows[row], columns[column]])
    # With nothing left to choose, the score is as honest as the plain one.
    nested = tuned if means.size == 1 else None
    return replace(
        choice,
        threshold=allowed_t[row],
        min_area=allowed_a[column],
        tuned=tuned,
        nested=nested,
        nested_over="fixed",
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
    print(f"empty masks: {empty_share:.1%} predicted, {np.mean(train.coverage == 0):.1%} in the training set")
    print(f"{path}: checked; manifest beside it")
