"""What the runs of an ensemble have predicted, and which images all of them have predicted. Everything is paired by id."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.store.mean import Probabilities

Rows = tuple[int, int]
Stored = tuple[Probabilities, int]
"""A store, and the row of an image in it."""


class Group(NamedTuple):
    """Some of several images, in one store.

    Attributes:
        store: that predicts them.
        rows: of these images in it.
        places: of these images among all that were asked for.
    """

    store: Probabilities
    rows: list[int]
    places: list[int]


class Member(Protocol):
    """One run in an ensemble.

    Attributes:
        name: the run's name, for messages.
        parts: how many predictions of an image there are, which count alike.
    """

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> int: ...

    @property
    def ids(self) -> Iterable[str]:
        """The ids that the member predicts, each once."""

    def shape(self, image_id: str) -> tuple[int, ...]:
        """Channels, height and width of an image's predictions."""

    def stored(self, image_id: str) -> Sequence[Stored]:
        """Where the ``parts`` predictions of an image are.

        Raises:
            KeyError: the member does not predict it.
        """

    def groups(self, ids: Sequence[str]) -> Iterable[Group]:
        """Where the predictions of several images are, store by store.

        Raises:
            KeyError: the member does not predict one of them.
        """

    def nonempty_sum(self, image_id: str) -> int | None:
        """Sum of ``parts`` codes of the probability that the mask is not empty; None without an image head."""


class OofMember:
    """A run's out-of-fold predictions: each id comes from the one fold that did not train on it."""

    parts = 1

    def __init__(self, name: str, stores: Mapping[int, Probabilities]) -> None:
        """
        Args:
            name: the run's name.
            stores: the ``oof`` store of each finished fold, by fold number.

        Raises:
            SegfoldError: an id that two folds predict, so that one of them has trained on it.
        """
        self.name = name
        self.stores = dict(stores)
        self.fold_of: dict[str, int] = {}
        for fold, store in self.stores.items():
            for image_id in store.ids:
                other = self.fold_of.setdefault(image_id, fold)
                if other != fold:
                    raise SegfoldError(
                        f"run {name}: image {image_id} is out of fold in both fold {other} and fold {fold}; "
                        "they were trained on different fold files, train one of them again"
                    )

    @property
    def ids(self) -> Iterable[str]:
        return self.fold_of.keys()

    def shape(self, image_id: str) -> tuple[int, ...]:
        return _shape(*self.stored(image_id)[0])

    def stored(self, image_id: str) -> Sequence[Stored]:
        store = self.stores[self.fold_of[image_id]]
        return [(store, store.rows[image_id])]

    def groups(self, ids: Sequence[str]) -> Iterable[Group]:
        folds = [self.fold_of[image_id] for image_id in ids]
        for fold in dict.fromkeys(folds):
            places = [place for place, its_fold in enumerate(folds) if its_fold == fold]
            rows = self.stores[fold].rows
            yield Group(self.stores[fold], [rows[ids[place]] for place in places], places)

    def nonempty_sum(self, image_id: str) -> int | None:
        store = self.stores[self.fold_of[image_id]]
        return store.nonempty(store.rows[image_id])


class TestMember:
    """A run's test predictions: the mean over its finished folds."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    def __init__(self, name: str, stores: Mapping[int, Probabilities]) -> None:
        """
        Args:
            name: the run's name.
            stores: the ``test`` store of each finished fold, by fold number.

        Raises:
            SegfoldError: no fold, or folds that predict different ids.
        """
        if not stores:
            raise SegfoldError(f"run {name}: no finished fold; train one")
        self.name = name
        self.stores = dict(stores)
        (first, reference), *others = self.stores.items()
        for fold, store in others:
            different = reference.rows.keys() ^ store.rows.keys()
            if different:
                raise SegfoldError(
                    f"run {name}: folds {first} and {fold} predict different test images "
                    f"({_some(different)}); delete the older fold's pred folder to predict it anew"
                )
        self.parts = len(self.stores)

    @property
    def ids(self) -> Iterable[str]:
        return next(iter(self.stores.values())).rows.keys()

    def shape(self, image_id: str) -> tuple[int, ...]:
        """Raises SegfoldError if the folds' predictions differ in size."""
        (first, reference), *others = zip(self.stores, self.stored(image_id))
        shape = _shape(*reference)
        for fold, stored in others:
            if _shape(*stored) != shape:
                raise SegfoldError(
                    f"run {self.name}: fold {fold} predicts image {image_id} as {_shape(*stored)}, "
                    f"fold {first} as {shape}; delete its pred folder to predict it anew"
                )
        return shape

    def stored(self, image_id: str) -> Sequence[Stored]:
        return [(store, store.rows[image_id]) for store in self.stores.values()]

    def groups(self, ids: Sequence[str]) -> Iterable[Group]:
        places = list(range(len(ids)))
        for store in self.stores.values():
            rows = store.rows
            yield Group(store, [rows[image_id] for image_id in ids], places)

    def nonempty_sum(self, image_id: str) -> int | None:
        total = 0
        for store in self.stores.values():
            code = store.nonempty(store.rows[image_id])
            if code is None:
                return None
            total += code
        return total


def _shape(store: Probabilities, row: int) -> tuple[int, ...]:
    return tuple(store.shapes[row].tolist())


def read_codes(stored: Stored, rows: Rows | None = None) -> npt.NDArray[np.uint16]:
    """C×H×W codes of a stored prediction; of some rows of the image, from the first to before the last."""
    store, row = stored
    return store.codes(row) if rows is None else store.code_rows(row, *rows)


def _some(ids: Iterable[str], count: int = 3) -> str:
    ordered = sorted(ids)
    return ", ".join(ordered[:count]) + (f" and {len(ordered) - count} more" if len(ordered) > count else "")


@dataclass(frozen=True)
class CommonIds:
    """What all members predict.

    Attributes:
        ids: sorted ids that every member predicts.
        of: how many ids any member predicts.
        missing: by member name, how many of these it does not predict (0 included).
    """

    ids: list[str]
    of: int
    missing: dict[str, int]

    def lines(self) -> list[str]:
        """What to tell the user about ids that are left out; nothing if there are none."""
        return [
            f"run {name} lacks {count} of {self.of} images: scores are over the {len(self.ids)} that all runs predicted"
            for name, count in self.missing.items()
            if count
        ]


def common_ids(members: Sequence[Member]) -> CommonIds:
    """The ids that all members predict.

    Raises:
        SegfoldError: there are none.
    """
    held: dict[str, int] = {}
    union: set[str] = set()
    shared: set[str] = set()
    for member in members:
        # One member's set at a time: many members of many images would hold more than their predictions do.
        ids = set(member.ids)
        shared = shared & ids if held else ids
        union |= ids
        held[member.name] = len(ids)
    if len(held) != len(members):
        raise SegfoldError(
            f"two of the runs {', '.join(member.name for member in members)} have one name; rename a folder"
        )
    if not shared:
        counts = "; ".join(f"{name} {count}" for name, count in held.items())
        raise SegfoldError(f"no image is predicted by every run ({counts}); finish the same folds of each")
    return CommonIds(sorted(shared), len(union), {name: len(union) - count for name, count in held.items()})


def check_same_folds(members: Sequence[OofMember]) -> None:
    """Refuses runs of different fold files: blending them, some member has trained on what it is scored on.

    Raises:
        SegfoldError: names the first pair of runs and an image.
    """
    seen: dict[str, tuple[str, int]] = {}
    for member in members:
        for image_id, fold in member.fold_of.items():
            name, other = seen.setdefault(image_id, (member.name, fold))
            if other != fold:
                raise SegfoldError(
                    f"runs {name} and {member.name} use different fold files "
                    f"(image {image_id} is in fold {other} and fold {fold}); leave one of them out"
                )
