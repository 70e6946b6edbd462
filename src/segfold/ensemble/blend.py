"""Blending: folds are averaged within a run, then runs with each other, a few images at a time.

Sums are integers, so a blend does not depend on the order of its members, weights count only in proportion, and a member
blended with itself is itself.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.ensemble.combine import FINEST, MEAN, Combination
from segfold.ensemble.stored import (
    CommonIds,
    Group,
    Member,
    OofMember,
    TestMember,
    check_same_folds,
    common_ids,
    read_codes,
)
from segfold.errors import SegfoldError

__all__ = [
    "Blended",
    "CommonIds",
    "Member",
    "OofMember",
    "TestMember",
    "blend",
    "check_same_folds",
    "common_ids",
    "proportions",
]

_TOGETHER = 1 << 19  # codes of images that are read together, so that a store is opened once for all of them
_CHUNK = 1 << 22  # codes that are added up at once: sums are four times as long


def proportions(weights: Sequence[float], parts: Sequence[int], finest: int = FINEST) -> list[int]:
    """Integer weights of the members' predictions: in the ratio ``weights[m] / parts[m]``.

    Exact for weights as people write them (1, 3, 0.25); else to 12 digits, or as many as ``finest`` has.

    Args:
        finest: what the weights of all predictions may add up to, see ``Combination``.

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
    if whole <= finest:
        return exact
    return [round(Fraction(value * finest, whole)) for value in exact]


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


def blend(
    members: Sequence[Member], weights: Sequence[float] | None, ids: Iterable[str], combination: Combination = MEAN
) -> Iterator[Blended]:
    """Weighted mean of the members, image by image; memory holds a few images at a time, threads share the work.

    Args:
        members: the runs, all ``OofMember`` or all ``TestMember``.
        weights: one a member, in any scale; None for equal ones. Members of weight 0 are not read.
        ids: what to blend, in the order wanted; see ``common_ids``.
        combination: what the mean is of. Whether a mask is empty is always the mean of probabilities.

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
    shares = proportions(weights, [member.parts for member in members], combination.finest)
    used = [_Used(member, share, combination.place(member.name)) for member, share in zip(members, shares) if share]
    return _in_turn(_Blend(used, combination), ids)


class _Used(NamedTuple):
    """A member that is read, the weight of each of its predictions, and its place in the combination."""

    member: Member
    weight: int
    place: int


_Groups = tuple[_Used, list[Group]]
"""A member, and where it has some images."""


@dataclass(frozen=True)
class _Batch:
    """Images that are blended together, and (N, 3) channels, height and width of each."""

    ids: list[str]
    shapes: npt.NDArray[np.int64]


def _in_turn(blend: "_Blend", ids: Iterable[str]) -> Iterator[Blended]:
    """The images in order; the next ones are worked on while one is taken, but for large ones, of which one is held."""
    threads = cores()
    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[int, Future[list[Blended]]]] = deque()
    try:
        for batch in blend.batches(ids):
            codes = int(batch.shapes.prod(axis=1).sum())
            while waiting and (len(waiting) > threads or codes + sum(ahead for ahead, _ in waiting) > _CHUNK):
                yield from waiting.popleft()[1].result()
            waiting.append((codes, pool.submit(blend.of, batch)))
        while waiting:
            yield from waiting.popleft()[1].result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Blend:
    """The members that are read, and what is averaged of them."""

    used: Sequence[_Used]
    combination: Combination

    def _made(self, total: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
        """The codes of sums."""
        whole = sum(member.parts * weight for member, weight, _ in self.used)
        return self.combination.codes(total, whole, len(self.used))

    def batches(self, ids: Iterable[str]) -> Iterator[_Batch]:
        """The images by as many as are read together."""
        names: list[str] = []
        shapes: list[tuple[int, ...]] = []
        codes = 0
        for image_id in ids:
            shape = _predicted_shape(self.used[0].member, image_id)
            if names and codes + math.prod(shape) > _TOGETHER:
                yield _Batch(names, np.array(shapes))
                names, shapes, codes = [], [], 0
            names.append(image_id)
            shapes.append(shape)
            codes += math.prod(shape)
        if names:
            yield _Batch(names, np.array(shapes))

    def of(self, batch: _Batch) -> list[Blended]:
        """The blends of some images."""
        alone = len(batch.ids) == 1
        groups = [(each, list(self._groups(each, batch))) for each in self.used]
        codes = [self._rows(batch)] if alone else self._codes(groups, batch)
        return list(map(Blended, batch.ids, codes, _nonempty(groups, len(batch.ids))))

    def _groups(self, used: _Used, batch: _Batch) -> Iterator[Group]:
        """Raises SegfoldError where a member predicts an image in another size than the first one does."""
        try:
            groups = list(used.member.groups(batch.ids))
        except KeyError as error:
            raise _unpredicted(used.member, error) from None
        for group in groups:
            shapes = group.store.shapes[group.rows]
            expected = batch.shapes[group.places]
            if not np.array_equal(shapes, expected):
                wrong = int(np.flatnonzero((shapes != expected).any(axis=1))[0])
                image_id = batch.ids[group.places[wrong]]
                _predicted_shape(used.member, image_id)
                raise SegfoldError(
                    f"image {image_id}: run {used.member.name} predicts {tuple(shapes[wrong].tolist())}, "
                    f"another run {tuple(expected[wrong].tolist())}; predict both anew on the same data"
                )
            yield group

    def _codes(self, groups: Sequence[_Groups], batch: _Batch) -> list[npt.NDArray[np.uint16]]:
        shapes = batch.shapes.tolist()
        ends = np.cumsum([0, *map(math.prod, shapes)]).tolist()
        total = np.zeros(ends[-1], np.int64)
        for (_, weight, place), its_groups in groups:
            for store, rows, places in its_groups:
                codes = store.codes_of(rows)
                if self.combination.by_pixel and len(places) == len(shapes):
                    self.combination.add(total, place, codes, weight)
                    continue
                begin = 0
                for number in places:
                    size = ends[number + 1] - ends[number]
                    self.combination.add(
                        total[ends[number] : ends[number + 1]].reshape(shapes[number]),
                        place,
                        codes[begin : begin + size].reshape(shapes[number]),
                        weight,
                    )
                    begin += size
        if self.combination.together:
            return [self._made(total[a:b].reshape(shape)) for a, b, shape in zip(ends, ends[1:], shapes)]
        codes = self._made(total)
        return [codes[a:b].reshape(shape) for a, b, shape in zip(ends, ends[1:], shapes)]

    def _rows(self, batch: _Batch) -> npt.NDArray[np.uint16]:
        """Of one image, which may be large: rows after rows, as sums take four times the memory of codes."""
        (image_id,) = batch.ids
        channels, height, width = batch.shapes[0].tolist()
        step = max(1, _CHUNK // max(channels * width, 1))
        codes = np.empty((channels, height, width), np.uint16)
        for top in range(0, height, step):
            rows = (top, min(top + step, height)) if step < height else None
            total = np.zeros((channels, min(step, height - top), width), np.int64)
            for member, weight, place in self.used:
                for stored in member.stored(image_id):
                    self.combination.add(total, place, read_codes(stored, rows), weight)
            codes[:, top : top + step] = self._made(total)
        return codes


def _predicted_shape(member: Member, image_id: str) -> tuple[int, ...]:
    try:
        return member.shape(image_id)
    except KeyError as error:
        raise _unpredicted(member, error) from None


def _unpredicted(member: Member, error: KeyError) -> SegfoldError:
    return SegfoldError(f"run {member.name} does not predict image {error.args[0]}; predict it anew")


def _nonempty(groups: Sequence[_Groups], images: int) -> list[int | None]:
    """Rounded mean of each image over the members with an image head."""
    total, whole = [0] * images, [0] * images
    for (_, weight, _), its_groups in groups:
        without = {place for store, rows, places in its_groups if store.nonempty(rows[0]) is None for place in places}
        if len(without) == images:
            continue
        for store, rows, places in its_groups:
            for row, place in zip(rows, places):
                if place not in without and (code := store.nonempty(row)) is not None:
                    total[place] += weight * code
                    whole[place] += weight
    return [(2 * mine + of) // (2 * of) if of else None for mine, of in zip(total, whole)]
