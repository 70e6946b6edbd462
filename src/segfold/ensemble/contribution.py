"""What each member of an ensemble is to the others: what it adds, and how far it differs from each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segfold.ensemble.disputed import Disputed, Numbers
from segfold.ensemble.disputed_masks import decided
from segfold.ensemble.stored import OofMember, read_codes
from segfold.statistics.bootstrap import Paired, paired
from segfold.store.codes import TOP

Floats = npt.NDArray[np.float64]

_BAND = 1 << 22  # codes that are taken together


@dataclass(frozen=True)
class Contribution:
    """Of one member.

    Attributes:
        name: of the member.
        weight: that it has in the blend.
        adds: the blend against the blend without it, the others weighing as before; None of the only member.
    """

    name: str
    weight: float
    adds: Paired | None


def leave_one_out(
    disputed: Disputed, weights: Sequence[float], rows: Numbers | None = None, draws: int = 2000, seed: int = 0
) -> list[Contribution]:
    """What each member that weighs anything adds to a blend, in the order of the members.

    Args:
        weights: (M,) in any scale.
        rows: images to score; None for all.
        draws: of the bootstrap, see ``paired``.
        seed: of the bootstrap.

    Raises:
        SegfoldError: a weight that is negative or no number, or none above 0.
    """
    whole = disputed.features(weights, rows)
    found = []
    for member, weight in enumerate(weights):
        if not weight:
            continue
        others = [0.0 if other == member else its for other, its in enumerate(weights)]
        adds = None
        if any(others):
            adds = paired(disputed.features(others, rows), whole, disputed.images.metric, draws, seed)
        found.append(Contribution(disputed.names[member], weight, adds))
    return found


def disagreement(disputed: Disputed) -> Floats:
    """(M, M) share of the pixels that count which two members alone decide differently, 0…1.

    Of classes that are by themselves it is the mean over the classes.
    """
    pixels, members = disputed.pixels, len(disputed.names)
    bounds, alone = disputed.bounds(1), np.eye(members, dtype=np.int64)
    different = np.zeros((members, members))
    for row in range(len(disputed.ids)):
        each = [np.concatenate(decided(pixels, disputed.images, row, one, bounds)) for one in alone]
        masks = np.stack(each)
        for member in range(members):
            different[member] += np.count_nonzero(masks != masks[member], axis=1)
    return different / max(pixels.counted.sum() * pixels.groups, 1)


def correlation(members: Sequence[OofMember], ids: Sequence[str]) -> Floats:
    """(M, M) Pearson correlation of the probabilities of two members over all pixels and classes, in one pass.

    A member that predicts one number everywhere has no correlation: 0 with all others.
    """
    size = len(members)
    count, sums, products = 0, np.zeros(size), np.zeros((size, size))
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    for codes in _bands(members, ids):
        count += codes.shape[1]
        sums += codes.sum(axis=1)
        products += codes @ codes.T
        low, high = np.minimum(low, codes.min(axis=1)), np.maximum(high, codes.max(axis=1))
    covariance = products - np.outer(sums, sums) / max(count, 1)
    spread = np.where(high > low, np.sqrt(np.maximum(covariance.diagonal(), 0)), 0)
    scale = np.outer(spread, spread)
    found = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(found, 1.0)
    return np.clip(found, -1, 1)


def _bands(members: Sequence[OofMember], ids: Sequence[str]) -> Iterator[Floats]:
    """M × n codes from -½ to ½, some rows of an image after the others."""
    for name in ids:
        stored = [member.stored(name)[0] for member in members]
        channels, height, width = members[0].shape(name)
        step = max(1, _BAND // max(channels * width * len(members), 1))
        for top in range(0, height, step):
            rows = top, min(top + step, height)
            yield np.stack([read_codes(each, rows).reshape(-1) for each in stored]) / TOP - 0.5
