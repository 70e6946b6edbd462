"""How the runs of a competition correlate, estimated on a few pixels of each held-out image.

Exact correlations of fifty runs would read all that they have predicted anew whenever one fold changes. A sketch of each
fold is kept instead (``segfold.board.sketch``). Each pair of runs is compared on the images that both have predicted.
"""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.board.facts import FoldFacts, RunFacts
from segfold.board.kept import Kept, key_of
from segfold.board.places import file_stem
from segfold.board.scored_store import scored_store, store_inputs
from segfold.board.sketch import PIXELS, Sketch, read_sketch, sketch_of, write_sketch
from segfold.errors import SegfoldError
from segfold.observer import SILENT, Observer
from segfold.store.codes import TOP

Floats = npt.NDArray[np.float64]

_BAND = 1 << 22  # numbers that are multiplied at once
_DAMAGED = OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile


def run_correlation(
    kept: Kept, files: Path, runs: Sequence[RunFacts], observer: Observer = SILENT
) -> dict[str, Any] | None:
    """``names`` of the runs, ``pixels`` that they are compared on, and their ``correlation``.

    None of fewer than two runs, and of runs no two of which have predicted the same image. Folds whose predictions are not
    there are left out, and so are runs without any.

    Args:
        files: the board's folder, ``board-files``.
        runs: of one competition.
        observer: told of predictions that have gone away while they were read.
    """
    found = {
        run.name: [each for fold in run.folds if (each := _sketch(kept, files, run, fold, observer))] for run in runs
    }
    sketches = {name: joined(each) for name, each in found.items() if each}
    widths = [sketch.codes.shape[1] for sketch in sketches.values()]
    # A run of other classes than most cannot be compared.
    usual = max(set(widths), key=widths.count, default=0)
    sketches = {name: each for name, each in sketches.items() if each.codes.shape[1] == usual and len(each.keys)}
    if len(sketches) < 2:
        return None
    matrix, images = correlate(list(sketches.values()))
    if not images:
        return None
    table = [[None if np.isnan(value) else round(float(value), 5) for value in row] for row in matrix]
    return {"names": list(sketches), "pixels": images * PIXELS, "correlation": table}


def _sketch(kept: Kept, files: Path, run: RunFacts, fold: FoldFacts, observer: Observer) -> Sketch | None:
    """The sketch of a fold, made where it is not there; None of a fold without whole predictions."""
    if fold.done is None or run.competition is None:
        return None
    name = f"sketches/{file_stem(run.name)}-fold{fold.number}.npz"
    key = key_of(
        PIXELS, len(run.competition.classes), fold.folder.done, *store_inputs(fold.folder, fold.done, run.experiment)
    )
    if kept.current(name, key):
        with suppress(*_DAMAGED):
            return read_sketch(files / name)
    try:
        sketch = sketch_of(scored_store(fold.folder, fold.done, run.experiment, run.competition).store)
    except (SegfoldError, OSError, ValueError) as error:
        observer.say(f"{run.name} fold {fold.number} is not compared with other runs: {error}")
        return None
    kept.begin(name)
    write_sketch(files / name, sketch)
    kept.made_from(name, key)
    return sketch


def joined(sketches: Sequence[Sketch]) -> Sketch:
    """The sketch of all folds of a run; of an image that two folds hold, the first."""
    sketches = [each for each in sketches if len(each.keys)] or sketches[:1]
    keys = np.concatenate([each.keys for each in sketches])
    keys, first = np.unique(keys, return_index=True)
    areas = np.concatenate([each.areas for each in sketches])[first]
    return Sketch(keys, areas, np.concatenate([each.codes for each in sketches])[first])


def correlate(sketches: Sequence[Sketch]) -> tuple[Floats, int]:
    """(M, M) Pearson correlation, of each pair on the images that both have; and how many images any two share.

    A pixel counts for as many as it stands for. NaN where two share no image; a run that says one number everywhere has no
    correlation: 0 with all others.
    """
    size = len(sketches)
    count, sums, squares, products = (np.zeros((size, size)) for _ in range(4))
    low, high = np.full((size, size), np.inf), np.full((size, size), -np.inf)
    shared = 0
    for values, there, weights in _bands(sketches):
        known = np.repeat(there, values.shape[2], axis=1).astype(np.float64)
        flat = values.reshape(size, -1)
        weighted = np.repeat(weights, values.shape[2])
        count += (known * weighted) @ known.T
        sums += (flat * weighted) @ known.T
        squares += (flat**2 * weighted) @ known.T
        products += (flat * weighted) @ flat.T
        shared += int(np.count_nonzero(there.sum(axis=0) > 1))
        least, most = values.min(axis=2), values.max(axis=2)
        for member in range(size):
            both = there & there[member]
            low[:, member] = np.minimum(low[:, member], np.where(both, least, np.inf).min(axis=1, initial=np.inf))
            high[:, member] = np.maximum(high[:, member], np.where(both, most, -np.inf).max(axis=1, initial=-np.inf))
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = products - sums * sums.T / count
        variance = np.where(high > low, np.maximum(squares - sums**2 / count, 0), 0)
        scale = np.sqrt(variance * variance.T)
        found = np.where(scale > 0, covariance / scale, 0.0)
    found[count == 0] = np.nan
    np.fill_diagonal(found, 1.0)
    return np.clip(found, -1, 1), shared


def _bands(sketches: Sequence[Sketch]) -> Iterator[tuple[Floats, npt.NDArray[np.bool_], Floats]]:
    """M×n×K values from -½ to ½ of some images, 0 where a run lacks one; M×n, which has which; (n,) weights."""
    keys = np.unique(np.concatenate([each.keys for each in sketches]))
    width = sketches[0].codes.shape[1]
    step = max(1, _BAND // (width * len(sketches)))
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        values = np.zeros((len(sketches), len(part), width))
        there, areas = np.zeros((len(sketches), len(part)), bool), np.ones(len(part))
        for member, each in enumerate(sketches):
            first, end = np.searchsorted(each.keys, [part[0], part[-1]], side="left")
            rows = slice(int(first), int(end) + int(end < len(each.keys) and each.keys[end] == part[-1]))
            places = np.searchsorted(part, each.keys[rows])
            values[member, places] = each.codes[rows] / TOP - 0.5
            there[member, places] = True
            areas[places] = each.areas[rows]
        yield values, there, areas
