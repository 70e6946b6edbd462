"""The runs that a recipe names, found again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from segfold.ensemble.members import Entry
from segfold.ensemble.recipe import Recipe
from segfold.errors import SegfoldError


def members_of(recipe: Recipe, entries: Sequence[Entry], source: str) -> tuple[list[Entry], list[str]]:
    """The runs that a recipe names, found by their weights, whatever their folders are called.

    Args:
        entries: runs in any order.
        source: the recipe's file, for messages.

    Returns:
        The runs, just as the recipe takes them, and a line for each run that it does not name.

    Raises:
        SegfoldError: a run that is not there, or was trained anew since.
    """
    found = []
    for name, member in recipe.members.items():
        fitting = [entry for entry in entries if _holds(entry, member.weights)]
        if not fitting:
            trained = any(entry.label == name or str(entry.folder.path) == member.run for entry in entries)
            problem = "has other weights now than the recipe was fitted with" if trained else "is not among the runs"
            raise SegfoldError(
                f"{source}: run {name} ({member.run}) {problem}; restore it, or fit a recipe anew without --recipe"
            )
        entry = next((entry for entry in fitting if entry.label == name), fitting[0])
        predict = entry.experiment.predict.model_copy(update={"tta": member.tta})
        found.append(
            replace(
                entry,
                experiment=entry.experiment.model_copy(update={"predict": predict}),
                done={fold: entry.done[fold] for fold in member.weights},
                label=name,
                weight=member.weight,
                named=dict(member.weights),
                set_name=None,
            )
        )
    used = {entry.folder.path for entry in found}
    left = [f"left out {entry.folder.path}: not in {source}" for entry in entries if entry.folder.path not in used]
    return found, left


def _holds(entry: Entry, weights: Mapping[int, Mapping[str, str]]) -> bool:
    """Whether a run has all of some sets of weights, by their hashes."""
    return all(
        entry.done.get(fold, {"weights": {}})["weights"].get(name) == digest
        for fold, digests in weights.items()
        for name, digest in digests.items()
    )
