"""The scripts of one run: its epochs, the masks and scores of each fold, and the curves that these add up to."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from segfold.board.facts import FoldFacts, RunFacts
from segfold.board.fold_images import fold_images, fold_key
from segfold.board.kept import Kept, key_of
from segfold.board.places import BoardPlaces, file_stem
from segfold.board.run_curves import run_curves
from segfold.board.script import write_script
from segfold.cores import cores
from segfold.data.images import ImageSet
from segfold.files import read_json, write_json
from segfold.observer import SILENT, Observer


def write_run_parts(
    facts: RunFacts,
    folds: Sequence[dict[str, Any]],
    train: ImageSet | None,
    places: BoardPlaces,
    kept: Kept,
    observer: Observer = SILENT,
) -> dict[str, Any]:
    """Writes the scripts of a run that are not as they should be.

    Args:
        folds: the records of its folds, which are told of their scripts.
        train: the training images; None without data.

    Returns:
        The names of its scripts.
    """
    stem = file_stem(facts.folder.name)
    _write_folds(facts, folds, stem, train, places, kept, observer)
    return {"epochs_script": _write_epochs(facts, stem, kept), "curves_script": _write_curves(facts, folds, stem, kept)}
