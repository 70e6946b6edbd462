"""What submitted ensembles have predicted of the test set, as far as it is still there and as it was submitted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segfold.board.submissions import Known
from segfold.competition import Competition
from segfold.ensemble.blend import TestMember
from segfold.errors import SegfoldError
from segfold.inference.stored import tta_name
from segfold.runs.folder import RunFolder
from segfold.store import MeanStore, Probabilities, ProbabilityStore, open_store
from segfold.store.reader import read_entries

NEWEST = 8
"""Ensembles that are looked at."""
_SPLIT = "test"


@dataclass(frozen=True)
class MemberFolds:
    """A run, or a named set of its weights, as it was submitted.

    Attributes:
        weights: of each fold the sets of weights, and the sha256 of each.
        data: fingerprint of the test images; None where the manifest does not say it.
    """

    label: str
    folder: RunFolder
    weights: Mapping[int, Mapping[str, str]]
    tta: tuple[str, ...]
    data: str | None

    def fold_name(self, fold: int) -> str:
        """The same of the same predictions."""
        return json.dumps([str(self.folder.path), fold, self.weights[fold], self.tta, self.data], sort_keys=True)


@dataclass(frozen=True)
class Ensemble:
    """A submission's file, below the working folder, and the members that its manifest names."""

    file: str
    sha256: str
    members: tuple[MemberFolds, ...]

    @property
    def name(self) -> str:
        """The same of the same members, whatever their weights."""
        return json.dumps(sorted(each.fold_name(fold) for each in self.members for fold in each.weights))


@dataclass
class Predictions:
    """Of the test images by all members of some ensembles; all stores hold the same images in the same sizes.

    Attributes:
        members: by label; those that have any, by the newest ensemble that has them.
        stores: of all folds of all members, each once.
        keys: what the stores are made of, for ``key_of``.
        left_out: a line for each fold whose predictions are not there, or not those that were submitted.
        data: fingerprint of the test images; None where there are no predictions.
    """

    members: dict[str, TestMember] = field(default_factory=dict)
    stores: list[Probabilities] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    data: str | None = None


def newest_ensembles(known: Sequence[Known], competition: str, home: Path) -> list[Ensemble]:
    """The newest submission of each set of members, the newest first, ``NEWEST`` at most."""
    ours = [each for each in known if each.submission.competition == competition]
    # Of one moment the one that was noted last is the newest.
    ours = sorted(ours, key=lambda each: each.submission.written or "")[::-1]
    found: dict[str, Ensemble] = {}
    for each in ours:
        if members := _members(each.manifest, home):
            ensemble = Ensemble(each.submission.file, each.submission.sha256, members)
            found.setdefault(ensemble.name, ensemble)
    return list(found.values())[:NEWEST]


def _members(manifest: Mapping[str, Any], home: Path) -> tuple[MemberFolds, ...]:
    """The members that a manifest names; none of one that is not whole."""
    try:
        data = manifest["data"]["test"]
        return tuple(
            MemberFolds(
                str(each["member"]),
                _run(Path(each["run"]), home),
                {
                    int(fold): {str(name): str(sha) for name, sha in sets.items()}
                    for fold, sets in each["weights"].items()
                },
                tuple(str(name) for name in each["tta"]),
                data if isinstance(data, str) else None,
            )
            for each in manifest["members"]
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _run(path: Path, home: Path) -> RunFolder:
    """Its folder; where the working folder has moved since, that of its name."""
    return RunFolder(home / path if (home / path).is_dir() else home / "runs" / path.name)


def open_predictions(ensembles: Sequence[Ensemble], competition: Competition) -> Predictions:
    """Opens the test stores of all members. Never raises for what lies in run folders."""
    made = Predictions()
    opened: dict[str, Probabilities | None] = {}
    for member in (member for ensemble in ensembles for member in ensemble.members):
        for fold in sorted(member.weights):
            name = member.fold_name(fold)
            if name in opened:
                continue
            opened[name] = None
            try:
                store, entries = _open(member, fold, competition)
                if made.stores:
                    _check_alike(made.stores[0], store)
            except (SegfoldError, OSError, ValueError) as error:
                made.left_out.append(f"{member.label} fold {fold}: {error}")
                continue
            opened[name] = store
            made.stores.append(store)
            made.keys.append(entries)
            made.data = made.data or entries[0]["meta"].get("data")
        folds = {fold: its for fold in member.weights if (its := opened[member.fold_name(fold)]) is not None}
        if folds and member.label not in made.members:
            made.members[member.label] = TestMember(member.label, folds)
    return made


def _open(member: MemberFolds, fold: int, competition: Competition) -> tuple[Probabilities, list[Any]]:
    """The predictions of a fold, and what they were made with.

    Raises:
        SegfoldError: why they are not what was submitted.
    """
    stores: list[ProbabilityStore] = []
    entries = []
    for weights, sha256 in sorted(member.weights[fold].items()):
        place = member.folder.fold(fold).predictions(weights, tta_name(member.tta))
        store = open_store(place, _SPLIT, None)
        if store is None:
            there = "are damaged" if (place / f"{_SPLIT}.u16").exists() else "are gone"
            raise SegfoldError(f"predictions of the test set {there}; segfold predict makes them anew")
        meta = store.meta if isinstance(store.meta, dict) else {}
        if meta.get("weights") != sha256:
            raise SegfoldError("trained and predicted anew since it was submitted")
        if member.data is not None and meta.get("data") != member.data:
            raise SegfoldError("predicted on other test images than were submitted")
        if (store.shapes[:, 0] != len(competition.task.classes)).any():
            raise SegfoldError(f"predictions of other classes than {competition.name} has")
        stores.append(store)
        entries.append(read_entries(place).get(_SPLIT))
    if not stores:
        raise SegfoldError("the manifest names no weights")
    return (stores[0] if len(stores) == 1 else MeanStore(stores)), entries


def _check_alike(first: Probabilities, store: Probabilities) -> None:
    if np.array_equal(first.ids, store.ids) and np.array_equal(first.shapes, store.shapes):
        return
    rows = [store.rows.get(name, -1) for name in first.ids]
    if len(store) != len(first) or -1 in rows or not np.array_equal(store.shapes[rows], first.shapes):
        raise SegfoldError("predicted on other test images than the newest submission")
