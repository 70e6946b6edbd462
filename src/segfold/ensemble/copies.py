"""Runs that add nothing to others: copies of a folder, or a named set that another member is already."""

from collections.abc import Iterator, Sequence
from typing import Any

from segfold.ensemble.members import Entry
from segfold.errors import SegfoldError


def drop_copies(entries: Sequence[Entry], weights: Sequence[str] | None) -> tuple[list[Entry], list[str]]:
    """The runs that add something to the others, and a line for each that does not.

    A copy predicts with the same weights of the same folds as another one, in the same way.

    Args:
        weights: see ``Entry.used``.
    """
    kept, lines = list(entries), []
    predictors = {id(entry): set(_predictors(entry, weights)) for entry in entries}
    for entry in entries[::-1]:  # of two that are equal, the first stays
        mine = predictors[id(entry)]
        for other in kept:
            if mine and other is not entry and mine <= predictors[id(other)]:
                lines.append(f"skipped {entry.given}: a copy of {other.given}, with the same weights")
                kept.remove(entry)
                break
    return kept, lines


def _predictors(entry: Entry, weights: Sequence[str] | None) -> Iterator[tuple[Any, ...]]:
    """What predicts, fold by fold; nothing of a run that lacks what is asked of it."""
    experiment = entry.experiment
    manner = experiment.predict.model_dump_json(exclude={"batch_size", "weights"})
    if experiment.predict.boxes is not None:
        manner += experiment.proposals.model_dump_json()
    try:
        used = entry.used(weights)
    except SegfoldError:
        return
    for number, digests in used.items():
        yield number, tuple(sorted(digests.values())), manner
