"""What a prediction must beat: the empty answer, and the best single grey level."""

from collections.abc import Sequence

import numpy as np

from segfold.ensemble.sweep import Sweep
from segfold.metrics import IMAGE_SCORES, overlap


def all_empty(truth: Sequence[np.ndarray], metric: str) -> float:
    """Score of predicting no foreground in any image. ``truth``: masks H×W."""
    nothing = [np.zeros_like(mask) for mask in truth]
    return float(IMAGE_SCORES[metric](*overlap(nothing, truth)).mean())


def best_grey_threshold(images: Sequence[np.ndarray], truth: Sequence[np.ndarray], metric: str) -> tuple[float, str]:
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
        total = np.zeros(len(levels))
        for image, mask in zip(values, truth, strict=True):
            inter, area, true = sweep(image, mask)
            counts = (inter[:, 0], area[:, 0] + true - inter[:, 0], area[:, 0], np.full(len(levels), true))
            total += IMAGE_SCORES[metric](*counts)
        best = int(total.argmax())
        level = levels[best] if name == "≥" else 255 - levels[best]
        found.append((float(total[best] / len(truth)), f"grey {name} {level}"))
    return max(found)
