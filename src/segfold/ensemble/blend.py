"""Blending: folds are averaged within a run, then runs with each other, one image at a time.

Sums are integers, so a blend does not depend on the order of its members, weights count only in proportion, and a member
blended with itself is itself.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segfold.ensemble.combine import FINEST, MEAN, Combination
from segfold.ensemble.stored import (
    CommonIds,
    Member,
    OofMember,
    Rows,
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
    """Weighted mean of the members, image by image; memory holds one image at a time.

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
    return (Blended(image_id, _codes(used, image_id, combination), _nonempty(used, image_id)) for image_id in ids)


class _Used(NamedTuple):
    """A member that is read, the weight of each of its predictions, and its place in the combination."""

    member: Member
    weight: int
    place: int


def _codes(used: Sequence[_Used], image_id: str, combination: Combination) -> npt.NDArray[np.uint16]:
    shapes = [_predicted_shape(each.member, image_id) for each in used]
    for each, shape in zip(used, shapes):
        if shape != shapes[0]:
            raise SegfoldError(
                f"image {image_id}: run {each.member.name} predicts {shape}, another run {shapes[0]}; "
                "predict both anew on the same data"
            )
    channels, height, width = shapes[0]
    step = max(1, _CHUNK // max(channels * width, 1))
    if height <= step:
        return _mean(used, image_id, None, combination)
    # Of a large image rows after rows, as sums take four times the memory of codes.
    codes = np.empty(shapes[0], np.uint16)
    for top in range(0, height, step):
        codes[:, top : top + step] = _mean(used, image_id, (top, min(top + step, height)), combination)
    return codes


def _predicted_shape(member: Member, image_id: str) -> tuple[int, ...]:
    try:
        return member.shape(image_id)
    except KeyError:
        raise SegfoldError(f"run {member.name} does not predict image {image_id}; predict it anew") from None


def _mean(used: Sequence[_Used], image_id: str, rows: Rows | None, combination: Combination) -> npt.NDArray[np.uint16]:
    total: npt.NDArray[np.int64] | None = None
    for member, weight, place in used:
        for stored in member.stored(image_id):
            codes = read_codes(stored, rows)
            if total is None:
                total = np.zeros(codes.shape, np.int64)
            combination.add(total, place, codes, weight)
    assert total is not None
    return combination.codes(total, sum(member.parts * weight for member, weight, _ in used))


def _nonempty(used: Sequence[_Used], image_id: str) -> int | None:
    total = whole = 0
    for member, weight, _ in used:
        part = member.nonempty_sum(image_id)
        if part is not None:
            total += weight * part
            whole += weight * member.parts
    return (2 * total + whole) // (2 * whole) if whole else None
