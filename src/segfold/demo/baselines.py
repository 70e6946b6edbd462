"""What a prediction must beat: the empty answer, and the best single grey level."""

from collections.abc import Sequence

import numpy as np

from segfold.metrics import METRICS, overlap, threshold_scores


def all_empty(truth: Sequence[np.ndarray], metric: str) -> float:
    """Score of predicting no foreground in any image. ``truth``: masks H×W."""
    nothing = [np.zeros_like(mask) for mask in truth]
    return float(METRICS[metric](*overlap(nothing, truth)).mean())


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
    found = []
    for name, values in (("≥", grey), ("≤", [(255 - image).astype(np.uint16) for image in grey])):
        scores = threshold_scores(values, truth, levels, METRICS[metric]).mean(axis=0)
        best = int(scores.argmax())
        level = levels[best] if name == "≥" else 255 - levels[best]
        found.append((float(scores[best]), f"grey {name} {level}"))
    return max(found)
