"""The second half of `segfold submit`: blend, choose, write, and say what came out."""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from segfold.cli.members import Predicted
from segfold.cli.shell import HOME
from segfold.competition import Competition, data_folder
from segfold.data.images import ImageSet
from segfold.ensemble import Choice, Grid, blend, check_same_folds, choose, common_ids, grid_scores
from segfold.errors import SegfoldError
from segfold.inference.stored import PIPELINE, prediction_meta
from segfold.layouts.ids import one_form
from segfold.layouts.table import read_table
from segfold.metrics import METRICS
from segfold.post import MinArea, Threshold
from segfold.submission.check import csv_problems, shapes_by_id
from segfold.submission.names import Taken
from segfold.submission.write import Written, write_submission

RUNS_IN_A_NAME = 4
LONGEST_NAME = 150
"""Bytes of a submission's name, to which a suffix and a temporary file's marks are added."""

ASKED = ("use", "weights", "threshold", "min_area", "mixed_folds", "fast")
"""Arguments that the manifest records as they were given."""


def blend_and_write(
    arguments: argparse.Namespace,
    competition: Competition,
    members: Sequence[Predicted],
    train: ImageSet,
    test: ImageSet,
) -> Path:
    """Choose on the out-of-fold blend, write the test blend; returns the CSV's path."""
    mixed = _mixed_folds(arguments, members)
    common = common_ids([member.oof for member in members])
    for line in common.lines():
        print(line)
    grid = _grid(arguments, train, test, common.ids)
    choice = _choose(competition, members, common.ids, train, grid, mixed)
    order = _sample_ids(competition)
    shapes = shapes_by_id(test, order)
    written = write_submission(
        _path(arguments.name, members),
        _masks(members, [one_form(name) for name in order], choice),
        competition,
        order,
        lambda file: csv_problems(file, competition, shapes),
        {
            "recipe": _recipe(members, choice, test),
            "members": [_member_record(member) for member in members],
            "threshold": choice.threshold,
            "min_area": choice.min_area,
            "asked": {name: getattr(arguments, name) for name in ASKED},
            "tried": {"thresholds": [grid.thresholds[0], grid.thresholds[-1]], "min_areas": list(grid.areas)},
            "mixed_folds": mixed,
            "pipeline": PIPELINE,
            "data": {"train": train.fingerprint, "test": test.fingerprint},
            "metric": competition.metric,
            "cv": choice.as_record(),
            "cv_images": len(common.ids),
        },
        Taken.REPLACE if arguments.force else Taken.REFUSE if arguments.name else Taken.RENAME,
    )
    _show(written, competition, members, choice, train)
    return written.path


def _path(name: str | None, members: Sequence[Predicted]) -> Path:
    if name:
        stem = name.removesuffix(".csv")
    else:
        runs = [member.entry.folder.name for member in members]
        stem = "+".join(runs) if len(runs) <= RUNS_IN_A_NAME else f"{runs[0]}+{len(runs) - 1}-more"
        stem = stem.encode()[:LONGEST_NAME].decode(errors="ignore")
    if len(stem.rpartition("/")[2].encode()) > LONGEST_NAME:
        raise SegfoldError(f"--name {stem[:20]}…: expected at most {LONGEST_NAME} bytes")
    return HOME / "submissions" / f"{stem}.csv"


def _member_record(member: Predicted) -> dict[str, Any]:
    entry = member.entry
    return {
        "run": str(entry.folder.path),
        "folds": sorted(entry.done),
        "weight": entry.weight,
        "weights": member.used,
        "tta": list(entry.experiment.predict.tta),
        "gate": entry.experiment.predict.gate,
        "fast": entry.experiment.fast,
    }


def _recipe(members: Sequence[Predicted], choice: Choice, test: ImageSet) -> str:
    """Hash of all that decides the masks: whose predictions in what proportion, and what turns them into masks."""
    blended = [
        {
            "weight": member.entry.weight,
            "stores": {
                fold: [prediction_meta(digest, member.entry.experiment, test) for _, digest in sorted(digests.items())]
                for fold, digests in member.used.items()
            },
        }
        for member in members
    ]
    texts = sorted(json.dumps(member, sort_keys=True) for member in blended)
    return hashlib.sha256(json.dumps([texts, choice.threshold, choice.min_area]).encode()).hexdigest()


def _mixed_folds(arguments: argparse.Namespace, members: Sequence[Predicted]) -> bool:
    """Whether the members' folds differ, where that is allowed."""
    try:
        check_same_folds([member.oof for member in members])
    except SegfoldError as error:
        if not arguments.mixed_folds:
            raise SegfoldError(f"{error}, or allow it with --mixed-folds") from None
        return True
    return False


def _grid(arguments: argparse.Namespace, train: ImageSet, test: ImageSet, ids: Sequence[str]) -> Grid:
    pixels, of_test = (images.images.shapes[:, :2].prod(axis=1) for images in (train, test))
    largest = round(float((train.coverage * pixels)[train.position(ids)].max()))
    return Grid.of(largest, int(max(pixels.max(), of_test.max())), arguments.threshold, arguments.min_area)


def _choose(
    competition: Competition,
    members: Sequence[Predicted],
    ids: Sequence[str],
    train: ImageSet,
    grid: Grid,
    mixed: bool,
) -> Choice:
    masks = train.masks
    assert masks is not None
    position = dict(zip(ids, train.position(ids)))
    oof = [member.oof for member in members]
    blended = blend(oof, [member.entry.weight for member in members], ids)
    seen, scores = grid_scores(blended, lambda name: masks[position[name]], METRICS[competition.metric], grid)
    return choose(seen, scores, None if mixed else [oof[0].fold_of[name] for name in seen], grid)


def _sample_ids(competition: Competition) -> list[str]:
    path = data_folder(competition, HOME) / competition.sample_submission
    return list(read_table(path, [competition.id_column], spelled=True)[competition.id_column])


def _masks(members: Sequence[Predicted], order: Sequence[str], choice: Choice) -> Iterator[tuple[str, np.ndarray]]:
    threshold, components = Threshold(value=choice.threshold), MinArea(min_area=choice.min_area)
    tests, weights = [member.test for member in members], [member.entry.weight for member in members]
    for name, codes in blend(tests, weights, order):
        yield name, components(threshold(codes[0]))


def _show(
    written: Written, competition: Competition, members: Sequence[Predicted], choice: Choice, train: ImageSet
) -> None:
    console = Console()
    runs = Table(title=f"ensemble for {competition.name}", title_justify="left")
    for name in ("run", "folds", "weight", "mean fold score"):
        runs.add_column(name, justify="left" if name == "run" else "right")
    for entry in (member.entry for member in members):
        scores = [done["score"] for done in entry.done.values()]
        runs.add_row(entry.label, ",".join(map(str, sorted(entry.done))), f"{entry.weight:g}", f"{np.mean(scores):.4f}")
    console.print(runs)
    table = Table(title=f"out of fold, {choice.plain.images:,} images, {competition.metric}", title_justify="left")
    for name in ("", "threshold", "smallest component", "score ± se"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("plain", "0.50", "0", str(choice.plain))
    table.add_row("as tuned (flatters)", f"{choice.threshold:.2f}", str(choice.min_area), str(choice.tuned))
    if choice.nested is not None:
        table.add_row(f"nested over {choice.nested_over}", "", "", str(choice.nested))
    console.print(table)
    if written.manifest["mixed_folds"]:
        print(
            "no nested score: the runs use different fold files (--mixed-folds), so any choice has seen what it is scored on"
        )
    for line in _edge_lines(choice):
        print(line)
    share = written.manifest["empty_share"]
    print(f"empty masks: {share:.1%} predicted, {np.mean(train.coverage == 0):.1%} in the training set")
    print(
        f"{written.path}: " + ("the same as before, left as it is" if written.kept else "checked; manifest beside it")
    )


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
