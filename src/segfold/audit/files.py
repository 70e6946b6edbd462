"""An audit as files: tables as CSV, a summary as JSON, pictures as PNG sheets."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segfold.audit.alike import FLIPS
from segfold.audit.sheets import alike_sheet, labels_sheet, shift_sheet
from segfold.audit.whole import ONE_PICTURE, SUSPICIOUS, Audit
from segfold.files import write_atomic, write_json

LISTED = 0.05
"""Suspicion of a label from which it is listed."""


def write_audit(found: Audit, folder: Path) -> list[Path]:
    """Writes the files of an audit, those that have something in them; an earlier audit's others are removed.

    Returns:
        Their paths, in the order of the alphabet.
    """
    tables = {
        "constant": _constant(found),
        "shift": _shift(found),
        "shift-images": _shift_images(found),
        "alike": _alike(found),
        "groups": _groups(found),
        "labels": _labels(found),
    }
    sheets = {"shift": shift_sheet(found), "alike": alike_sheet(found), "labels": labels_sheet(found)}
    made = {f"{name}.csv": _csv(*table) for name, table in tables.items() if table[1]}
    made |= {f"{name}.png": _png(sheet) for name, sheet in sheets.items() if sheet is not None}
    for name in [*(f"{name}.csv" for name in tables), *(f"{name}.png" for name in sheets)]:
        if name not in made:
            (folder / name).unlink(missing_ok=True)
    for name, data in made.items():
        with write_atomic(folder / name) as file:
            file.write(data)
    write_json(folder / "audit.json", summary(found))
    return sorted(folder / name for name in (*made, "audit.json"))


def summary(found: Audit) -> dict[str, Any]:
    """The figures of an audit."""
    alike, shift, count = found.alike, found.shift, len(found.train)
    grouped = alike.group >= 0
    in_fold, in_split = (each.image >= 0 for each in alike.across)
    agree = found.agreement
    one_picture = alike.nearest.correlation[:count] >= ONE_PICTURE
    sizes = np.bincount(alike.group[grouped], minlength=1)
    suspicious = [each for each in found.suspicions if each.suspicion >= SUSPICIOUS]
    return {
        "competition": found.competition.name,
        "images": {"train": count, "test": len(found.ids) - count},
        "constant": {
            "train": int(found.constant[:count].sum()),
            "train_with_mask": int((found.train.coverage[found.constant[:count]] > 0).sum()),
            "test": int(found.constant[count:].sum()),
        },
        "shift": None
        if shift is None
        else {
            "auc": shift.auc.value,
            "standard_error": shift.auc.standard_error,
            "auc_without_sides": None if shift.without_sides is None else shift.without_sides.value,
            "separating": [each.name for each in shift.separating if each.alone.beyond_chance],
        },
        "alike": {
            "least": found.least,
            "pairs": alike.pairs,
            "groups": alike.groups,
            "largest": int(sizes.max()),
            "train": int(grouped[:count].sum()),
            "test": int(grouped[count:].sum()),
            "in_another_fold": None if found.folds is None else int(in_fold[:count].sum()),
            "train_like_test": int(in_split[:count].sum()),
            "test_like_train": int(in_split[count:].sum()),
            "one_picture": int(one_picture.sum()),
            "one_picture_other_mask": int((one_picture & (agree < 0.5)).sum()),
        },
        "labels": None
        if not found.members
        else {
            "runs": [member.name for member in found.members],
            "masks": len(found.suspicions),
            "suspicious": len(suspicious),
            "suspicious_images": len({each.image for each in suspicious}),
        },
    }


Rows = tuple[Sequence[str], list[Sequence[Any]]]
"""Columns, and the rows under them."""


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _png(sheet: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()


def _constant(found: Audit) -> Rows:
    rows: list[Sequence[Any]] = []
    for image in np.flatnonzero(found.constant).tolist():
        covered = f"{found.train.coverage[image]:.4f}" if image < len(found.train) else ""
        rows.append((found.ids[image], found.split(image), found.fold(image), covered))
    return ("id", "split", "fold", "coverage"), rows


def _shift(found: Audit) -> Rows:
    rows: list[Sequence[Any]] = []
    for each in () if found.shift is None else found.shift.separating:
        spreads = (f"{value:.6g}" for part in (each.train, each.test) for value in part)
        numbers = (each.alone.value, each.alone.standard_error, each.drop)
        rows.append((each.name, *(f"{value:.4f}" for value in numbers), *spreads))
    spread = [f"{split}_{share}" for split in ("train", "test") for share in (5, 50, 95)]
    return ("statistic", "auc", "standard_error", "drop", *spread), rows


def _shift_images(found: Audit) -> Rows:
    rows: list[Sequence[Any]] = []
    if found.shift is not None:
        for image, probability in enumerate(found.shift.probability.tolist()):
            rows.append((found.ids[image], found.split(image), found.fold(image), f"{probability:.4f}"))
    return ("id", "split", "fold", "probability_of_test"), rows


def _alike(found: Audit) -> Rows:
    """A row an image that is like another, by groups, the largest first."""
    alike, agree = found.alike, found.agreement
    inside = np.flatnonzero(alike.group >= 0)
    rows: list[Sequence[Any]] = []
    for image in inside[np.argsort(alike.group[inside], kind="stable")].tolist():
        nearest = alike.nearest
        row = [alike.group[image], found.ids[image], found.split(image), found.fold(image)]
        row += [found.ids[nearest.image[image]], f"{nearest.correlation[image]:.4f}", FLIPS[nearest.flip[image]]]
        known = image < len(found.train) and not np.isnan(agree[image])
        row.append(f"{agree[image]:.4f}" if known else "")
        for each in alike.across:
            other = each.image[image]
            row += [found.ids[other], f"{each.correlation[image]:.4f}"] if other >= 0 else ["", ""]
        rows.append(row)
    columns = ("group", "id", "split", "fold", "nearest", "correlation", "flip", "masks_agree")
    return (*columns, "in_another_fold", "correlation_there", "in_the_other_split", "correlation_in_it"), rows


def _groups(found: Audit) -> Rows:
    """A row a training image, as a competition file's ``groups`` takes it: what is a group already stays together."""
    if not (found.alike.group[: len(found.train)] >= 0).any():
        return ("id", "group"), []
    return ("id", "group"), [(name, key) for name, key in zip(found.train.ids, found.joined_groups)]


def _labels(found: Audit) -> Rows:
    position = dict(zip(found.train.ids, range(len(found.train))))
    classes = found.competition.task.classes
    rows: list[Sequence[Any]] = []
    for each in found.suspicions:
        if each.suspicion >= LISTED:
            where = each.image, classes[each.label], found.fold(position[each.image])
            pixels = each.contradicted, each.mask, each.all_runs, each.any_run
            rows.append((*where, f"{each.suspicion:.4f}", each.kind, *pixels))
    return ("id", "class", "fold", "suspicion", "kind", "contradicted", "mask", "all_runs", "any_run"), rows
