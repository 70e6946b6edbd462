"""Metrics: pixel counts in, one score an image out. A competition's score is their mean over images."""

from segfold.metrics.areas import Counts, overlap
from segfold.metrics.dice import dataset_dice, image_dice
from segfold.metrics.iou import dataset_iou, image_iou
from segfold.metrics.precision import ImageScore, counts, score, score_counts

IMAGE_SCORES: dict[str, ImageScore] = {"precision": score_counts, "iou": image_iou, "dice": image_dice}

__all__ = [
    "IMAGE_SCORES",
    "Counts",
    "ImageScore",
    "counts",
    "dataset_dice",
    "dataset_iou",
    "image_dice",
    "image_iou",
    "overlap",
    "score",
    "score_counts",
]
