"""What is averaged of the members of an ensemble: probabilities, their logits or logarithms, their ranks, or votes.

A member's stored codes become whole numbers, its values; a blend adds these up by weight and turns the mean back into
codes. Sums of whole numbers do not depend on the order of members, and a member blended with itself is itself (but for
votes, which know two codes, and products, which get surer with each member).
"""

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from segfold.ensemble.combine_kernels import FINE, ONE, add, add_looked_up, count, divide, look_up, shares
from segfold.ensemble.stored import Member, read_codes
from segfold.errors import SegfoldError
from segfold.store.codes import HALF, TOP
from segfold.tasks import FOREGROUND, Task

Codes = npt.NDArray[np.uint16]
Values = npt.NDArray[np.int64]

COMBINATIONS = ("mean", "logits", "geometric", "product", "rank", "vote")
ALL = "*"
"""In ``Combination.fitted``: the distribution of all members together, which mean ranks are turned back by."""

_BINS = TOP + 1
_STEPS = 1 << 16  # of a table that makes finding a code short
_NAT = 1 << 26  # values of a logarithm of 1
_PIXELS = 1 << 29  # of a distribution, once it is scaled: twice as many, times the weights, still add up in 64 bits
FINEST = 1 << 40
"""What weights of 16-bit codes may add up to: the sums still fit into 64 bits."""
_FINEST = 1 << 32  # the same for values of 30 bits
_FINEST_PRODUCT = 1 << 30  # the same where they are multiplied by ``ONE`` too


class Combination:
    """How members are averaged.

    Attributes:
        name: ``mean`` of the probabilities; ``logits``, the mean of their logits; ``geometric``, their geometric mean;
            ``product`` of the probabilities, divided by its sum over the classes, or, of a class by itself, with that of
            its complement (a sum of logits); ``rank``, the mean of a pixel's ranks among all that each member has predicted
            out of fold, turned back into a probability by the distribution of all members together; ``vote``, the share of
            members that hold a pixel for foreground (p ≥ .5). Of exclusive classes ``logits`` too averages logarithms of
            probabilities, and a vote is for the most probable class.
        fitted: what a recipe must keep to combine in the same way again, text by member; of ranks alone.
        finest: the largest ``whole`` for which sums fit into 64 bits.
        by_pixel: whether a value is of its own code alone, so that codes may have any shape.
        together: whether the codes of a pixel's classes are made together, so that totals must be C×… arrays.

    A product has as exponents the members' shares of the weight, times the number of members: of members that weigh alike
    it is the plain product. The folds of a member are one factor, their geometric mean. Wherever a method takes ``members``,
    the number of members that weigh anything, only a product needs it.

    Reference:
        Noh, Hong and Han, Learning deconvolution network for semantic segmentation, ICCV 2015 (EDeconvNet). Their text has
        the mean of the probabilities; their released code multiplies the networks' scores, those below 0 of one of them set
        to 0, before any softmax.
    """

    def __init__(self, name: str, task: Task = FOREGROUND, fitted: Mapping[str, str] | None = None) -> None:
        """
        Args:
            name: one of ``COMBINATIONS``.
            task: of the competition.
            fitted: of an earlier one; ranks need it, see ``combination``.

        Raises:
            SegfoldError: an unknown name, or texts that say no distributions.
        """
        if name not in COMBINATIONS:
            raise SegfoldError(f"combination {name!r}: expected one of {', '.join(COMBINATIONS)}")
        self.name, self.task = name, task
        self.fitted = dict(fitted or {}) if name == "rank" else {}
        self.finest = {"mean": FINEST, "vote": FINEST, "product": _FINEST_PRODUCT}.get(name, _FINEST)
        self.by_pixel = not (name == "vote" and task.exclusive)
        self.together = name == "product" and task.exclusive
        self._places: dict[str, int] = {}
        self._tables: Sequence[Values] = ()
        self._edges: Values | None = None  # the least value of each code
        if name == "rank":
            if ALL not in self.fitted:
                raise SegfoldError("the recipe lacks what a mean of ranks is fitted to; fit it anew")
            starts = {member: _starts(_read(text, member)) for member, text in self.fitted.items()}
            self._edges = starts.pop(ALL)
            self._places = {member: place for place, member in enumerate(starts)}
            # The rank of a code is that of the middle one of its pixels.
            self._tables = [(each[:-1] + each[1:]) // 2 for each in starts.values()]
        elif name == "vote":
            self._tables = [np.where(np.arange(_BINS) >= HALF, TOP, 0)]
        elif name != "mean":
            values, self._edges = _logarithms(name in ("logits", "product") and not task.exclusive)
            self._tables = [values]

    @cached_property
    def _start(self) -> Values:
        """The code of the lowest value in each of equal steps from the lowest edge to the highest."""
        assert self._edges is not None
        steps = np.linspace(self._edges[1], self._edges[TOP], _STEPS + 1)
        return np.asarray(np.searchsorted(self._edges[1:_BINS], steps, side="right"), np.int64)

    def fitted_of(self, members: Iterable[str]) -> dict[str, str]:
        """What a recipe of some of the members must keep."""
        return {name: text for name, text in self.fitted.items() if name == ALL or name in set(members)}

    def place(self, member: str) -> int:
        """The number by which ``values`` knows a member.

        Raises:
            SegfoldError: it was not there when the ranks were fitted.
        """
        if self.name != "rank":
            return 0
        if member not in self._places:
            raise SegfoldError(f"run {member} has no ranks in the recipe; fit it anew")
        return self._places[member]

    def values(self, member: int, codes: Codes) -> Values:
        """What is added up of one stored prediction.

        Args:
            member: of ``place``.
            codes: C×H×W.

        Returns:
            C×H×W whole numbers; they rise with the codes of their plane, but for votes of exclusive classes.
        """
        total = np.zeros(codes.shape, np.int64)
        self.add(total, member, codes, 1)
        return total

    def add(self, total: Values, member: int, codes: Codes, weight: int) -> None:
        """Adds ``weight`` times ``values(member, codes)`` to C×H×W ``total``."""
        if not self.by_pixel:
            total += (weight * TOP) * self.task.planes(self.task.decided(codes, ()))
        elif self.name == "mean":
            add(total.reshape(-1), np.ascontiguousarray(codes).reshape(-1), weight)
        else:
            table = self._tables[member if self.name == "rank" else 0]
            add_looked_up(total.reshape(-1), np.ascontiguousarray(codes).reshape(-1), table, weight)

    def codes(self, total: Values, whole: int, members: int = 1) -> Codes:
        """The codes of ``total / whole``, nearest where that lies between two.

        Args:
            total: sums of weighted values, of any shape; see ``together``.
            whole: sum of the weights, at most ``finest``.
            members: see ``Combination``.
        """
        self._check(whole)
        found = np.empty(total.shape, np.uint16)
        totals = np.ascontiguousarray(total)
        if self.together:
            planes = len(total), -1
            shares(totals.reshape(planes), whole, members, _powers(), found.reshape(planes))
        elif self._edges is None:
            divide(totals.reshape(-1), whole, found.reshape(-1))
        elif self.name == "product":
            look_up(totals.reshape(-1), 1, self.bounds(whole, members), self._start, found.reshape(-1))
        else:
            look_up(totals.reshape(-1), whole, self._edges, self._start, found.reshape(-1))
        return found

    def bound(self, code: int, whole: int, members: int = 1) -> int:
        """The smallest total whose code is ``code`` or more, for codes from 1; there is none where codes are made together."""
        self._check(whole)
        if self._edges is None:
            return ((2 * code - 1) * whole + 1) // 2
        return -(-int(self._edges[code]) * whole // self._factor(members))

    def bounds(self, whole: int, members: int = 1) -> Values:
        """(65536,) the same of every code."""
        self._check(whole)
        if self._edges is None:
            return ((2 * np.arange(_BINS) - 1) * whole + 1) // 2
        return -(-self._edges[:_BINS] * whole // self._factor(members))

    def _factor(self, members: int) -> int:
        return members if self.name == "product" else 1

    def _check(self, whole: int) -> None:
        if not 0 < whole <= self.finest:
            raise ValueError(f"weights add up to {whole}: expected 1 to {self.finest}")


MEAN = Combination("mean")


def combination(
    name: str,
    members: Sequence[Member],
    ids: Sequence[str],
    task: Task = FOREGROUND,
    fitted: Mapping[str, str] | None = None,
) -> Combination:
    """A combination of members; what it needs to know of them is read from their out-of-fold predictions.

    Args:
        name: see ``Combination``.
        members: ``OofMember`` each; not read where nothing is to be fitted.
        ids: of the images that ranks are among.
        fitted: ``Combination.fitted`` of an earlier fit, which is taken as it is.

    Raises:
        SegfoldError: an unknown name.
    """
    if name == "rank" and fitted is None:
        counts = {member.name: _counts(member, ids) for member in members}
        together: Values = sum(counts.values(), np.zeros(_BINS, np.int64))
        fitted = {each: _text(found) for each, found in {ALL: together, **counts}.items()}
    return Combination(name, task, fitted)


def _counts(member: Member, ids: Sequence[str]) -> Values:
    """How often a member predicts each code, over all planes and pixels."""
    found = np.zeros(_BINS, np.int64)
    for image_id in ids:
        for stored in member.stored(image_id):
            count(found, read_codes(stored).reshape(-1))
    return found


def _text(counts: Values) -> str:
    # A byte of all numbers after the other packs best.
    planes = counts.astype("<u8").view(np.uint8).reshape(-1, 8).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def _read(text: str, member: str) -> Values:
    try:
        planes = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), np.uint8).reshape(8, _BINS)
        counts = np.ascontiguousarray(planes.T).view("<u8").reshape(-1).astype(np.int64)
    except (ValueError, zlib.error):
        counts = np.zeros(_BINS, np.int64)
    if counts.min() < 0 or not 0 < counts.sum() < 1 << 48:
        raise SegfoldError(f"the ranks of run {member} in the recipe cannot be read; fit it anew")
    return counts


def _starts(counts: Values) -> Values:
    """(65537,) twice the pixels below each code, and below the end, of ``_PIXELS``.

    Each code has a pixel more than was counted, so that ranks of codes that were never seen differ too.
    """
    below = np.concatenate([[0], np.cumsum(counts, dtype=object)])
    scaled = (below * (_PIXELS - _BINS) // below[-1]).astype(np.int64)
    return np.asarray(2 * (scaled + np.arange(_BINS + 1)), np.int64)


@cache
def _powers() -> Values:
    """See ``shares``."""
    exponents = np.arange(_BINS)[None] * np.array([[1 << FINE], [1]])
    return np.rint(ONE * np.exp(-exponents / _NAT)).astype(np.int64)


@cache
def _logarithms(odds: bool) -> tuple[Values, Values]:
    """Of each code the logarithm of its probability, or of its odds, and from which one the code is the nearest.

    0 (of odds 1 too) is taken for a quarter of a code, as its logarithm has no end.
    """
    codes = np.arange(_BINS, dtype=np.float64)
    from_ = np.maximum(codes - 0.5, 0.125)
    centres = np.clip(codes, 0.25, TOP - 0.25) if odds else np.maximum(codes, 0.25)

    def logarithm(of: npt.NDArray[np.float64]) -> Values:
        return np.rint(_NAT * (np.log(of / TOP) - (np.log1p(-of / TOP) if odds else 0.0))).astype(np.int64)

    return logarithm(centres), logarithm(from_)
