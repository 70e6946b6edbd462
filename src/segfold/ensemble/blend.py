"""Blending: folds are averaged within a run, then runs with each other, one image at a time.

Everything is paired by id. Sums are integers, so a blend does not depend on the order of its members, weights
count only in proportion, and a member blended with itself is itself.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.store.mean import Probabilities

Rows = tuple[int, int]
_CHUNK = 1 << 22  # codes that are added up at once: sums are four times as long
_FINEST = 1 << 40  # 16-bit codes times weights of this size still add up in 64 bits


class Member(Protocol):
    """One run in an ensemble.

    Attributes:
        name: the run's name, for messages.
        parts: number that ``code_sum`` must be divided by to give codes.
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

    def code_sum(self, image_id: str, rows: Rows | None = None) -> npt.NDArray[np.int64]:
        """C×H×W sum of the codes of ``parts`` predictions; of some rows of the image, from the first to before the last."""

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
        store = self.stores[self.fold_of[image_id]]
        return _shape(store, image_id)

    def code_sum(self, image_id: str, rows: Rows | None = None) -> npt.NDArray[np.int64]:
        return _stored(self.stores[self.fold_of[image_id]], image_id, rows).astype(np.int64)

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
        return _shape(next(iter(self.stores.values())), image_id)

    def code_sum(self, image_id: str, rows: Rows | None = None) -> npt.NDArray[np.int64]:
        total: npt.NDArray[np.int64] | None = None
        for fold, store in self.stores.items():
            codes = _stored(store, image_id, rows)
            if total is None:
                total = codes.astype(np.int64)
            elif codes.shape != total.shape:
                raise SegfoldError(
                    f"run {self.name}: fold {fold} predicts image {image_id} as {codes.shape}, "
                    f"another fold as {total.shape}; delete its pred folder to predict it anew"
                )
            else:
                total += codes
        assert total is not None
        return total

    def nonempty_sum(self, image_id: str) -> int | None:
        total = 0
        for store in self.stores.values():
            code = store.nonempty(store.rows[image_id])
            if code is None:
                return None
            total += code
        return total


def _shape(store: Probabilities, image_id: str) -> tuple[int, ...]:
    return tuple(store.shapes[store.rows[image_id]].tolist())


def _stored(store: Probabilities, image_id: str, rows: Rows | None) -> npt.NDArray[np.uint16]:
    row = store.rows[image_id]
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


def proportions(weights: Sequence[float], parts: Sequence[int]) -> list[int]:
    """Integer weights of the code sums: in the ratio ``weights[m] / parts[m]``.

    Exact for weights as people write them (1, 3, 0.25); to 12 digits for any others.

    Raises:
        SegfoldError: a weight that is negative or no number, or none above 0.
    """
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights):
        raise SegfoldError(f"weights {', '.join(map(str, weights))}: expected numbers of 0 or more, not all 0")
    ratios = [Fraction(str(float(weight))) / part for weight, part in zip(weights, parts, strict=True)]
    scale = math.lcm(*(ratio.denominator for ratio in ratios))
    exact = [int(ratio * scale) for ratio in ratios]
    common = math.gcd(*exact)
    exact = [value // common for value in exact]
    whole = sum(value * part for value, part in zip(exact, parts))
    if whole <= _FINEST:
        return exact
    return [round(Fraction(value * _FINEST, whole)) for value in exact]


class Blended(NamedTuple):
    """A weighted mean of what members predict of one image.

    Attributes:
        codes: C×H×W, the rounded mean, in the store's codes, as thresholds are applied to.
        nonempty: rounded mean of the codes of the probability that the mask is not empty, over the members with an
            image head; None where none has one.
    """

    id: str
    codes: npt.NDArray[np.uint16]
    nonempty: int | None


def blend(members: Sequence[Member], weights: Sequence[float] | None, ids: Iterable[str]) -> Iterator[Blended]:
    """Weighted mean of the members, image by image; memory holds one image at a time.

    Args:
        members: the runs, all ``OofMember`` or all ``TestMember``.
        weights: one a member, in any scale; None for equal ones. Members of weight 0 are not read.
        ids: what to blend, in the order wanted; see ``common_ids``.

    Raises:
        SegfoldError: weights that do not fit, an id that a member does not predict, different shapes.
    """
    if not members:
        raise SegfoldError("nothing to blend: no run is given")
    if weights is None:
        weights = [1.0] * len(members)
    if len(weights) != len(members):
        names = ", ".join(member.name for member in members)
        raise SegfoldError(f"{len(weights)} weights for {len(members)} runs ({names}); give one a run")
    used = list(zip(members, proportions(weights, [member.parts for member in members])))
    used = [(member, weight) for member, weight in used if weight]
    return (Blended(image_id, _codes(used, image_id), _nonempty(used, image_id)) for image_id in ids)


def _codes(used: Sequence[tuple[Member, int]], image_id: str) -> npt.NDArray[np.uint16]:
    shapes = [_predicted_shape(member, image_id) for member, _ in used]
    for (member, _), shape in zip(used, shapes):
        if shape != shapes[0]:
            raise SegfoldError(
                f"image {image_id}: run {member.name} predicts {shape}, another run {shapes[0]}; "
                "predict both anew on the same data"
            )
    channels, height, width = shapes[0]
    step = max(1, _CHUNK // max(channels * width, 1))
    if height <= step:
        return _mean(used, image_id, None)
    # Of a large image rows after rows, as sums take four times the memory of codes.
    codes = np.empty(shapes[0], np.uint16)
    for top in range(0, height, step):
        codes[:, top : top + step] = _mean(used, image_id, (top, min(top + step, height)))
    return codes


def _predicted_shape(member: Member, image_id: str) -> tuple[int, ...]:
    try:
        return member.shape(image_id)
    except KeyError:
        raise SegfoldError(f"run {member.name} does not predict image {image_id}; predict it anew") from None


def _mean(used: Sequence[tuple[Member, int]], image_id: str, rows: Rows | None) -> npt.NDArray[np.uint16]:
    whole = sum(member.parts * weight for member, weight in used)
    total: npt.NDArray[Any] | None = None
    for member, weight in used:
        part = member.code_sum(image_id, rows)
        part *= weight
        total = part if total is None else total + part
    assert total is not None
    return ((2 * total + whole) // (2 * whole)).astype(np.uint16)


def _nonempty(used: Sequence[tuple[Member, int]], image_id: str) -> int | None:
    total = whole = 0
    for member, weight in used:
        part = member.nonempty_sum(image_id)
        if part is not None:
            total += weight * part
            whole += weight * member.parts
    return (2 * total + whole) // (2 * whole) if whole else None
