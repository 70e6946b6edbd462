"""Metrics: numbers of each image in, added up over images, and a score with its standard error out of the sums.

``METRICS`` has them by the names that a competition gives. Each is of counts of pixels (``CountMetric``) or must see the
mask (``MaskMetric``); ``ScoreSums`` adds up its features.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pkgutil import resolve_name
from typing import Any

from segfold.errors import SegfoldError, shown
from segfold.metrics.areas import Counts, overlap
from segfold.metrics.base import CountMetric, MaskMetric, MeanOfRatios, MeanOverImages, Metric
from segfold.metrics.dice import image_dice
from segfold.metrics.edges import BoundaryAccuracy, InternalAccuracy
from segfold.metrics.images import Dice, IoU, Precision
from segfold.metrics.iou import image_iou
from segfold.metrics.objects import ObjectF2, ObjectMetric, ObjectPrecision
from segfold.metrics.precision import ImageScore, counts, score, score_counts
from segfold.metrics.regions import FrequencyWeightedIoU, GlobalDice, MeanAccuracy, MeanIoU, PixelAccuracy
from segfold.metrics.sums import MeanScore, ScoreSums
from segfold.metrics.truth import Truth
from segfold.schema import build

IMAGE_SCORES: dict[str, ImageScore] = {"precision": score_counts, "iou": image_iou, "dice": image_dice}

_PLACES = {
    "precision": "images:Precision",
    "iou": "images:IoU",
    "dice": "images:Dice",
    "global_dice": "regions:GlobalDice",
    "miou": "regions:MeanIoU",
    "pixel_accuracy": "regions:PixelAccuracy",
    "mean_accuracy": "regions:MeanAccuracy",
    "fw_iou": "regions:FrequencyWeightedIoU",
    "boundary_accuracy": "edges:BoundaryAccuracy",
    "internal_accuracy": "edges:InternalAccuracy",
    "object_precision": "objects:ObjectPrecision",
    "object_f2": "objects:ObjectF2",
}
"""A metric's name in competition files, its file in this folder, and its class there."""

METRICS: dict[str, Callable[..., Metric]] = {
    name: resolve_name(f"{__name__}.{place}") for name, place in _PLACES.items()
}


def build_metric(metric: str | Mapping[str, Any]) -> Metric:
    """The metric that a competition names: ``dice``, or with settings ``{global_dice: {macro: true}}``.

    Raises:
        SegfoldError: not one metric, an unknown one, or a setting that it has not.
    """
    names = {metric: {}} if isinstance(metric, str) else metric
    if not isinstance(names, Mapping) or len(names) != 1:
        raise SegfoldError(f"metric: found {shown(metric)}, expected one name, or one name with its settings")
    ((name, settings),) = names.items()
    if name not in METRICS:
        near = get_close_matches(str(name), METRICS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(METRICS)}"
        raise SegfoldError(f"metric {shown(name)} is unknown: {hint}")
    if not isinstance(settings or {}, Mapping):
        raise SegfoldError(f"metric.{name}: found {shown(settings)}, expected a mapping of its settings")
    return build(f"metric.{name}", METRICS[name], settings or {})


__all__ = [
    "IMAGE_SCORES",
    "METRICS",
    "BoundaryAccuracy",
    "CountMetric",
    "Counts",
    "Dice",
    "FrequencyWeightedIoU",
    "GlobalDice",
    "ImageScore",
    "InternalAccuracy",
    "IoU",
    "MaskMetric",
    "MeanAccuracy",
    "MeanIoU",
    "MeanOfRatios",
    "MeanOverImages",
    "MeanScore",
    "Metric",
    "ObjectF2",
    "ObjectMetric",
    "ObjectPrecision",
    "PixelAccuracy",
    "Precision",
    "ScoreSums",
    "Truth",
    "build_metric",
    "counts",
    "image_dice",
    "image_iou",
    "overlap",
    "score",
    "score_counts",
]
