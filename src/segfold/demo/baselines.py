"""What a prediction must beat: the empty answer, and the best single grey level."""

from collections.abc import Sequence

import numpy as np

from segfold.ensemble.sweep import Sweep
from segfold.metrics import CountMetric, Counts, overlap


def all_empty(truth: Sequence[np.ndarray], metric: CountMetric) -> float:
    """Score of predicting no foreground in any image. ``truth``: masks H×W."""
    counts = overlap([np.zeros_like(mask) for mask in truth], truth)
    features = metric.of(Counts(*(of_images[:, None] for of_images in counts)))
    return float(metric.value(features.sum(axis=0), len(truth)))


def best_grey_threshold(
    images: Sequence[np.ndarray], truth: Sequence[np.ndarray], metric: CountMetric
) -> tuple[float, str]:
    """Score of the best "foreground is what is brighter (or darker) than t", chosen on the answer itself.

    Args:
        images: uint8 H×W×C; the mean over channels is the grey level.
        truth: masks H×W.

    Returns:
        The score, and the rule as text.
    """
    grey = [image.mean(axis=2).round().astype(np.uint16) for image in images]
    levels = np.arange(1, 257)
    sweep = Sweep(levels, [0])
    found = []
    for name, values in (("≥", grey), ("≤", [(255 - image).astype(np.uint16) for image in grey])):
        total = np.zeros((len(levels), metric.size(1)))
        for image, mask in zip(values, truth, strict=True):
            inter, area, true = sweep(
                image, mask
            )  # (levels, 1): one smallest component, which stands for the one class
            total += metric.of(Counts(inter, area + true - inter, area, np.full_like(area, true)))
        scores = metric.value(total, len(truth))
        best = int(scores.argmax())
        level = levels[best] if name == "≥" else 255 - levels[best]
        found.append((float(scores[best]), f"grey {name} {level}"))
    return max(found)
