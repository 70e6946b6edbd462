"""Threshold and minimum component area, chosen on out-of-fold predictions and reported honestly.

A choice scored on the images it was made on flatters itself. The nested estimate beside it makes the choice
on the other parts (folds) and scores it on each part in turn: no image is scored by a choice that saw it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.ensemble.grid import Grid
from segfold.ensemble.sweep import Sweep
from segfold.errors import SegfoldError
from segfold.metrics import Metric
from segfold.post.threshold import threshold_code

_WHOLE = Grid.whole()
_TIE = 1e-7  # means of float32 scores differ by less than this for no reason; one hit is far more


@dataclass(frozen=True)
class MeanScore:
    """Mean over images and its standard error, std / sqrt(N); the error of one image is unknown (None)."""

    mean: float
    standard_error: float | None
    images: int

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> "MeanScore":
        """Of (N,) scores."""
        values = np.asarray(values, np.float64)
        error = float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else None
        return cls(float(values.mean()), error, values.size)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.standard_error is None else f"{self.mean:.4f} ± {self.standard_error:.4f}"


@dataclass(frozen=True)
class Decision:
    """What turns a blend into masks, and what it scores out of fold.

    Attributes:
        plain: threshold 0.5 and every component kept.
        tuned: the choice on the images that it was made on: too good.
        nested: the choice made on the other parts, scored on each part; None if there are too few images, or no parts.
        nested_over: what the parts are, for people.
        at_edge: which of ``threshold`` and ``min_area`` lie at an end of what was tried.
    """

    threshold: float
    min_area: int
    plain: MeanScore
    tuned: MeanScore
    nested: MeanScore | None
    nested_over: str
    at_edge: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """For the manifest: JSON throughout."""
        return asdict(self)


def grid_scores(
    blended: Iterable[tuple[str, npt.NDArray[np.uint16]]],
    truth: Callable[[str], npt.NDArray[Any]],
    metric: Metric,
    grid: Grid = _WHOLE,
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Scores of every image at every threshold and minimum area; images pass through one at a time.

    Args:
        blended: ids and 1×H×W codes, as ``blend`` yields them.
        truth: the H×W mask of an id.
        metric: (intersection, union, predicted area, true area) -> scores, as in ``METRICS``.
        grid: T thresholds and A areas.

    Returns:
        The N ids, and their scores N×T×A.

    Raises:
        SegfoldError: more than one class, or a prediction of another size than its mask.
    """
    sweep = Sweep([threshold_code(value) for value in grid.thresholds], grid.areas)
    ids: list[str] = []

    def scores() -> Iterator[npt.NDArray[np.float32]]:
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
            ids.append(image_id)
            yield np.asarray(metric(*counts), np.float32).reshape(inter.shape)

    # Grown in place: a list of all scores and their stack would be there at the same time.
    return ids, np.fromiter(scores(), np.dtype((np.float32, sweep.shape)))


def _best(mean: npt.NDArray[np.float64], grid: Grid) -> tuple[int, int]:
    """Indices of the best mean of T×A that is allowed; among equals the threshold nearest 0.5, then the smallest area."""
    ties = np.argwhere(grid.allowed & (mean >= mean[grid.allowed].max() - _TIE))
    t, a = min(ties.tolist(), key=lambda at: (round(abs(grid.thresholds[at[0]] - 0.5), 9), grid.areas[at[1]], at[0]))
    return t, a


def _parts(ids: Sequence[str], folds: npt.ArrayLike | None, count: int) -> tuple[npt.NDArray[np.int64], str]:
    if folds is None:
        return np.zeros(len(ids), np.int64), "nothing: the runs share no folds"
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
    folds: npt.ArrayLike | None,
    grid: Grid = _WHOLE,
    parts: int = 5,
) -> Decision:
    """The best threshold and minimum area for the mean score; the simplest of equals.

    Args:
        ids: (N,) as ``grid_scores`` returns them.
        scores: N×T×A.
        folds: (N,) fold of each id, the parts of the nested estimate; None where the members' folds differ: whatever
            the parts, some member has trained on the images that a choice is scored on, so nothing is nested.
        grid: what the scores are of, and what of it may be chosen.
        parts: into how many parts the images of a single fold are cut for the nested estimate.

    Raises:
        SegfoldError: no image.
    """
    if len(ids) == 0:
        raise SegfoldError("no out-of-fold prediction to choose a threshold on; train a fold")
    part, nested_over = _parts(ids, folds, parts)
    inside = {number: part == number for number in np.unique(part).tolist()}
    sums = {number: scores[rows].sum(axis=0, dtype=np.float64) for number, rows in inside.items()}
    total = sum(sums.values(), np.zeros(scores.shape[1:]))
    t, a = _best(total / len(ids), grid)
    nested = np.full(len(ids), np.nan)
    for number, rows in inside.items():
        if outside := len(ids) - int(rows.sum()):
            nested[rows] = scores[(rows, *_best((total - sums[number]) / outside, grid))]
    return Decision(
        threshold=grid.thresholds[t],
        min_area=grid.areas[a],
        plain=MeanScore.of(scores[(slice(None), *grid.plain)]),
        tuned=MeanScore.of(scores[:, t, a]),
        nested=None if np.isnan(nested).any() else MeanScore.of(nested),
        nested_over=nested_over,
        at_edge=grid.edges(t, a),
    )
