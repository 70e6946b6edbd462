"""What the page says of the data: coverage and classes by fold, and what an audit has found."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from segfold.audit.whole import find_fold_file, find_folds
from segfold.competition import Competition
from segfold.data.folds import TRAINED_ON
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.layouts.table import read_table
from segfold.statistics.groups import coverage_groups

SHOWN = 200
"""Groups of images that are alike, and suspicious labels, that are shown; the first have most to say."""
SHOWN_OF_GROUP = 20
"""Images of a group that are shown: one may hold all frames of a film."""


def data_record(
    home: Path,
    competition: Competition,
    train: ImageSet,
    test_images: int | None,
    samples: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """What ``sets/<competition>/data`` says.

    A fold file and an audit that cannot be read, or are of other data, are left out, with a line that says so.

    Args:
        home: the working folder.
        train: with masks.
        test_images: how many there are; None where that is not known.
        samples: see ``segfold.board.samples.write_samples``.
    """
    return {
        "competition": competition.name,
        "images": {"train": len(train), "test": test_images},
        **_by_fold(home, competition, train),
        **_audit(home / "audit" / competition.name, competition, train, test_images),
        "samples": list(samples),
    }


def _by_fold(home: Path, competition: Competition, train: ImageSet) -> dict[str, Any]:
    """Histograms: a row a fold, ``train`` that of images which no fold holds out; without folds one of all images."""
    assert train.areas is not None
    folds, file, problem = None, None, None
    try:
        folds = find_folds(competition, train, home)
        file = None if folds is None or train.held_out is not None else find_fold_file(competition, home)
    except (SegfoldError, OSError) as error:
        problem = str(error)
    numbers = np.zeros(len(train), np.int64) if folds is None else folds
    names, number = coverage_groups(train.coverage)
    rows = [numbers == fold for fold in np.unique(numbers)]
    return {
        "fold_file": None if file is None else file.relative_to(home).as_posix(),
        "fold_problem": problem,
        "folds": None if folds is None else [_fold_name(fold) for fold in np.unique(folds).tolist()],
        "coverage": {
            "names": names,
            "counts": [np.bincount(number[inside], minlength=len(names)).tolist() for inside in rows],
        },
        "classes": {
            "names": list(train.task.classes),
            "images": [(train.areas[inside] > 0).sum(axis=0).tolist() for inside in rows],
            "pixels": [train.areas[inside].sum(axis=0).tolist() for inside in rows],
        },
    }


def _fold_name(fold: int) -> int | str:
    return "train" if fold == TRAINED_ON else fold


def _audit(folder: Path, competition: Competition, train: ImageSet, test_images: int | None) -> dict[str, Any]:
    """``audit``, and ``audit_problem``: why there is none, or not all of it."""
    path = folder / "audit.json"
    try:
        if not path.exists():
            return {"audit": None, "audit_problem": None}
        summary = _checked(path, read_json(path), competition, train, test_images)
        made = datetime.fromtimestamp(int(path.stat().st_mtime), UTC).isoformat().replace("+00:00", "Z")
    except (SegfoldError, OSError) as error:
        return {"audit": None, "audit_problem": str(error)}
    problems: list[str] = []
    found = {"made": made, "summary": summary, "alike": [], "labels": []}
    for part, read in (("alike", _alike), ("labels", _labels)):
        try:
            if (folder / f"{part}.csv").exists():
                found[part] = read(folder / f"{part}.csv", train)
        except (SegfoldError, OSError) as error:
            problems.append(str(error))
    return {"audit": found, "audit_problem": "; ".join(problems) or None}


def _checked(path: Path, summary: Any, competition: Competition, train: ImageSet, test_images: int | None) -> Any:
    """The figures of an audit, which are of this data.

    Raises:
        SegfoldError: they are of another competition or of other images, or are not what an audit writes.
    """
    again = f"run `make audit competition={competition.name}` again"
    parts = {"alike": dict, "constant": dict, "shift": dict | None, "labels": dict | None}
    if (
        not isinstance(summary, dict)
        or not isinstance(summary.get("images"), dict)
        or not all(part in summary and isinstance(summary[part], kind) for part, kind in parts.items())
    ):
        raise SegfoldError(f"{path} is not what an audit writes: {again}")
    counts = summary["images"].get("train"), summary["images"].get("test")
    wanted = len(train), counts[1] if test_images is None else test_images
    if summary.get("competition") != competition.name or counts != wanted:
        raise SegfoldError(
            f"{path} is of {summary.get('competition')}, {counts[0]} training and {counts[1]} test images; here are "
            f"{competition.name}, {wanted[0]} and {wanted[1]}: {again}"
        )
    return summary


def _alike(path: Path, train: ImageSet) -> list[dict[str, Any]]:
    """The groups of images that are alike, in the order of the file: the largest first."""
    columns = ("id", "split", "group", "fold", "correlation", "masks_agree")
    groups: dict[str, list[dict[str, Any]]] = {}
    rows = _rows(path, columns)
    _check_ids(path, [row["id"] for row in rows if row["split"] == "train"], train)
    for row in rows:
        groups.setdefault(row["group"], []).append(
            {
                "id": row["id"],
                "split": row["split"],
                "fold": row["fold"],
                "correlation": _number(path, row["correlation"]),
                "masks_agree": _number(path, row["masks_agree"]),
            }
        )
    first = list(groups.values())[:SHOWN]
    return [
        {"group": place, "size": len(images), "images": images[:SHOWN_OF_GROUP]} for place, images in enumerate(first)
    ]


def _labels(path: Path, train: ImageSet) -> list[dict[str, Any]]:
    columns = ("id", "class", "fold", "suspicion", "kind", "contradicted")
    rows = _rows(path, columns)
    _check_ids(path, [row["id"] for row in rows], train)
    numbers = ("suspicion", "contradicted")
    return [{**row, **{name: _number(path, row[name]) for name in numbers}} for row in rows[:SHOWN]]


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table in which an id and the column after it are there once."""
    table = read_table(path, columns, unique=2)
    return [dict(zip(columns, row)) for row in table.itertuples(index=False, name=None)]


def _check_ids(path: Path, ids: Sequence[str], train: ImageSet) -> None:
    known = set(train.ids)
    if unknown := [name for name in ids if name not in known]:
        raise SegfoldError(f"{path} has id {unknown[0]!r}, which the data has not: run `make audit` again")


def _number(path: Path, text: str) -> float | None:
    """A number of a table; None of a blank field."""
    if text == "":
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise SegfoldError(f"{path} has {text[:30]!r} where a number is expected: run `make audit` again")
    return int(value) if value.is_integer() and "." not in text else value
