"""A submission of several stored predictions in plain numpy and scikit-image: blended, tuned on the masks, written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from skimage.measure import label


def submitted(
    members: Sequence[np.ndarray],
    truth: np.ndarray,
    thresholds: Sequence[float],
    areas: Sequence[int],
    ids: Sequence[str],
    path: Path,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Write the masks of the threshold and the smallest component that score best.

    Args:
        members: N×H×W uint16 each, 65535 times the probabilities.
        truth: N×H×W masks of 0 and 1.
        thresholds: T probabilities from which a pixel is foreground.
        areas: A numbers of pixels; an 8-connected component of fewer is left out.
        ids: of the images.
        path: of the CSV.

    Returns:
        T×A mean precision over the IoU thresholds .50, .55, … .95; the place of the best.
    """
    blended = [np.floor(np.mean([member[i] for member in members], axis=0) + 0.5) for i in range(len(truth))]
    codes = np.floor(65535 * np.asarray(thresholds) + 0.5)
    scores = np.mean([scored(image, mask > 0, codes, areas) for image, mask in zip(blended, truth)], axis=0)
    threshold, area = np.unravel_index(scores.argmax(), scores.shape)
    lines = ["id,rle_mask"]
    for name, image in zip(ids, blended):
        components = label(image >= codes[threshold], connectivity=2)
        lines.append(f"{name},{runs(kept(components, areas[area]))}")
    path.write_text("\n".join(lines) + "\n")
    return scores, (int(threshold), int(area))


def scored(image: np.ndarray, mask: np.ndarray, codes: np.ndarray, areas: Sequence[int]) -> np.ndarray:
    """T×A scores of an image."""
    found = np.empty((len(codes), len(areas)))
    steps = np.arange(10, 20)
    for j, code in enumerate(codes):
        components = label(image >= code, connectivity=2)
        for k, area in enumerate(areas):
            predicted = kept(components, area)
            union = np.count_nonzero(predicted | mask)
            hits = 20 * np.count_nonzero(predicted & mask) > steps * union
            found[j, k] = hits.mean() if union else 1.0
    return found


def kept(components: np.ndarray, area: int) -> np.ndarray:
    """Pixels of components that are large enough."""
    large = np.bincount(components.ravel()) >= area
    large[0] = False
    return large[components]


def runs(mask: np.ndarray) -> str:
    """``start length`` pairs down the columns, from 1."""
    pixels = np.concatenate([[0], mask.T.ravel(), [0]])
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges))
