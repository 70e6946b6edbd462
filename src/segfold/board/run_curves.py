"""A run's curves, added up from the sums of its folds: score against threshold, by coverage and by tables, classes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segfold.competition import Competition
from segfold.metrics import MeanIoU, Metric

_DIGITS = 6
"""Of a score, as in ``done.json``."""


def run_curves(name: str, competition: Competition, sums: Mapping[int, Mapping[str, Any] | None]) -> dict[str, Any]:
    """The script ``curves/…`` of a run.

    Args:
        name: the run's.
        sums: of each fold, see ``FoldSums.record``; folds without are left out.
    """
    metric = competition.scorer
    folds = {fold: found for fold, found in sorted(sums.items()) if found is not None}
    tables = dict.fromkeys(table for found in folds.values() for table in found["tables"])
    return {
        "run": name,
        "folds": list(folds),
        "threshold": _by_threshold(folds, metric),
        "coverage": _by_group([found["coverage"] for found in folds.values()], metric),
        "tables": {
            table: _by_group([found["tables"].get(table, []) for found in folds.values()], metric) for table in tables
        },
        "confusion": _confusion(list(folds.values())),
        "iou": _class_iou(list(folds.values())),
    }


def _by_threshold(folds: Mapping[int, Mapping[str, Any]], metric: Metric) -> dict[str, Any] | None:
    """Scores at each threshold of all images and of each fold's; None where a fold has none."""
    known = {tuple(found["thresholds"] or ()) for found in folds.values()}
    if len(known) != 1 or not (thresholds := next(iter(known))):
        return None
    swept = {fold: np.array(found["swept"], np.float64) for fold, found in folds.items()}
    images = {fold: found["images"] for fold, found in folds.items()}
    total = np.sum(list(swept.values()), axis=0)
    return {
        "thresholds": list(thresholds),
        "all": [_score(metric, each, sum(images.values())) for each in total],
        "folds": {str(fold): [_score(metric, each, images[fold]) for each in found] for fold, found in swept.items()},
    }


def _by_group(folds: Iterable[Sequence[Mapping[str, Any]]], metric: Metric) -> list[dict[str, Any]]:
    """The groups that have images, with the score of theirs, in the order of the folds' lists."""
    total: dict[str, Any] = {}
    images: dict[str, int] = {}
    for groups in folds:
        for group in groups:
            name = group["name"]
            total[name] = total.get(name, 0.0) + np.array(group["features"], np.float64)
            images[name] = images.get(name, 0) + group["images"]
    return [
        {"name": name, "images": count, "score": _score(metric, total[name], count)}
        for name, count in images.items()
        if count
    ]


def _score(metric: Metric, sums: Any, images: int) -> float:
    return round(float(metric.value(sums, images)), _DIGITS)


def _confusion(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not folds or any(found["confusion"] is None for found in folds):
        return None
    counts = np.sum([found["confusion"] for found in folds], axis=0)
    return {"classes": list(folds[0]["classes"]), "counts": counts.tolist()}


def _class_iou(folds: Sequence[Mapping[str, Any]]) -> dict[str, float | None] | None:
    """IoU of each of several classes over all images; None of a class that is nowhere."""
    if not folds or any(found["areas"] is None for found in folds):
        return None
    inter, union = (np.sum([found["areas"][name] for found in folds], axis=0) for name in ("intersection", "union"))
    each = MeanIoU().each(np.concatenate([inter, union]))
    return {name: None if np.isnan(iou) else round(float(iou), _DIGITS) for name, iou in zip(folds[0]["classes"], each)}
