"""Threshold and minimum component area, chosen on out-of-fold predictions and reported honestly.

A choice scored on the images it was made on flatters itself. The nested estimate beside it makes the choice
on the other parts (folds) and scores it on each part in turn: no image is scored by a choice that saw it.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.ensemble.sweep import Sweep
from segfold.errors import SegfoldError
from segfold.post.threshold import threshold_code

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(20, 81))
AREAS: tuple[int, ...] = (0, 5, 10, 20, 40, 60, 80, 100)
_TIE = 1e-7  # means of float32 scores differ by less than this for no reason; one hit is far more

Metric = Callable[..., npt.NDArray[Any]]


@dataclass(frozen=True)
class Score:
    """Mean over images and its standard error, std / sqrt(N); the error of one image is unknown (None)."""

    mean: float
    standard_error: float | None
    images: int

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> "Score":
        """Of (N,) scores."""
        values = np.asarray(values, np.float64)
        error = float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else None
        return cls(float(values.mean()), error, values.size)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.standard_error is None else f"{self.mean:.4f} ± {self.standard_error:.4f}"


@dataclass(frozen=True)
class Choice:
    """What turns a blend into masks, and what it scores out of fold.

    Attributes:
        plain: threshold 0.5 and every component kept.
        tuned: the choice on the images that it was made on: too good.
        nested: the choice made on the other parts, scored on each part; None if there are too few images.
        nested_over: what the parts are, for people.
    """

    threshold: float
    min_area: int
    plain: Score
    tuned: Score
    nested: Score | None
    nested_over: str

    def as_record(self) -> dict[str, Any]:
        """For the manifest: JSON throughout."""
        return asdict(self)


def grid_scores(
    blended: Iterable[tuple[str, npt.NDArray[np.uint16]]],
    truth: Callable[[str], npt.NDArray[Any]],
    metric: Metric,
    thresholds: Sequence[float] = THRESHOLDS,
    areas: Sequence[int] = AREAS,
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Scores of every image at every threshold and minimum area; images pass through one at a time.

    Args:
        blended: ids and 1×H×W codes, as `blend` yields them.
        truth: the H×W mask of an id.
        metric: (intersection, union, predicted area, true area) -> scores, as in ``METRICS``.
        thresholds: (T,) increasing probabilities.
        areas: (A,) increasing, in pixels.

    Returns:
        The N ids, and their scores N×T×A.

    Raises:
        SegfoldError: more than one class, or a prediction of another size than its mask.
    """
    sweep = Sweep([threshold_code(value) for value in thresholds], areas)
    ids: list[str] = []
    scores: list[npt.NDArray[np.float32]] = []
    for image_id, codes in blended:
        mask = truth(image_id)
        if codes.shape != (1, *mask.shape):
            raise SegfoldError(
                f"image {image_id}: predicted {codes.shape}, its mask is {mask.shape}; predict it anew on this data"
            )
        inter, predicted, true = sweep(codes[0], mask)
        counts = (
            inter.ravel(),
            (predicted + true - inter).ravel(),
            predicted.ravel(),
            np.full(inter.size, true),
        )
        scores.append(np.asarray(metric(*counts), np.float32).reshape(inter.shape))
        ids.append(image_id)
    return ids, np.stack(scores) if scores else np.empty((0, *sweep.shape), np.float32)


def _best(mean: npt.NDArray[np.float64], thresholds: Sequence[float], areas: Sequence[int]) -> tuple[int, int]:
    """Indices of the best mean of T×A; among equals the threshold nearest 0.5, then the smallest area."""
    ties = np.argwhere(mean >= mean.max() - _TIE)
    t, a = min(ties.tolist(), key=lambda at: (round(abs(thresholds[at[0]] - 0.5), 9), areas[at[1]], at[0]))
    return t, a


def _parts(ids: Sequence[str], folds: npt.ArrayLike, count: int) -> tuple[npt.NDArray[np.int64], str]:
    by_fold = np.asarray(folds, np.int64)
    if len(by_fold) != len(ids):
        raise ValueError(f"{len(by_fold)} folds for {len(ids)} ids")
    number = len(np.unique(by_fold))
    if number > 1:
        return by_fold, f"{number} folds"
    # One fold alone is cut by a hash of the id, which no order of the images can change.
    digests = (hashlib.sha256(image_id.encode()).digest() for image_id in ids)
    return np.array([int.from_bytes(digest[:4], "big") % count for digest in digests]), f"{count} parts of one fold"


def choose(
    ids: Sequence[str],
    scores: npt.NDArray[Any],
    folds: npt.ArrayLike,
    thresholds: Sequence[float] = THRESHOLDS,
    areas: Sequence[int] = AREAS,
    parts: int = 5,
) -> Choice:
    """The best threshold and minimum area for the mean score; the simplest of equals.

    Args:
        ids: (N,) as `grid_scores` returns them.
        scores: N×T×A.
        folds: (N,) fold of each id, the parts of the nested estimate.
        thresholds: (T,) with 0.5 among them.
        areas: (A,) with 0 among them.
        parts: into how many parts the images of a single fold are cut for the nested estimate.

    Raises:
        SegfoldError: no image.
    """
    if len(ids) == 0:
        raise SegfoldError("no out-of-fold prediction to choose a threshold on; train a fold")
    plain = scores[:, list(thresholds).index(0.5), list(areas).index(0)]
    best = _best(scores.mean(axis=0, dtype=np.float64), thresholds, areas)

    part, nested_over = _parts(ids, folds, parts)
    nested = np.full(len(ids), np.nan)
    for number in np.unique(part):
        inside = part == number
        if not inside.all():
            t, a = _best(scores[~inside].mean(axis=0, dtype=np.float64), thresholds, areas)
            nested[inside] = scores[inside, t, a]
    return Choice(
        threshold=thresholds[best[0]],
        min_area=areas[best[1]],
        plain=Score.of(plain),
        tuned=Score.of(scores[:, best[0], best[1]]),
        nested=None if np.isnan(nested).any() else Score.of(nested),
        nested_over=nested_over,
    )
