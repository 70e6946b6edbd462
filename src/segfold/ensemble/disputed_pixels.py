"""The pixels that members decide differently, collected in one pass over all that the members have predicted."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.ensemble.combine import Combination
from segfold.ensemble.disputed_kernels import split, split_classes
from segfold.ensemble.evidence import Images
from segfold.ensemble.pile import Pile
from segfold.ensemble.stored import OofMember, Rows, read_codes
from segfold.errors import SegfoldError
from segfold.metrics import CountMetric
from segfold.tasks import Mask

Codes = npt.NDArray[np.uint16]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_BAND = 1 << 25  # bytes of all members' codes of an image that a thread reads at once
_ALL = np.arange(1 << 16, dtype=np.uint16)


@dataclass(frozen=True, eq=False)
class Pixels:
    """What is kept of all images. A group is one class (P = 1 plane), or all that exclude each other (P = C planes).

    Attributes:
        starts: (N·G + 1,) where the pixels of each image and group begin.
        codes: flat, of each image and group members × planes × pixels; votes already, where these are averaged.
        truth: flat, 1 and 0 where a group is one class, else a pixel's class.
        counts: N × 3 × C pixels that are right and predicted whatever the weights, and true.
        counted: (N,) pixels that count, or all where the metric sees the mask.
        mask_starts: (N + 1,) where the masks begin; all 0 where the metric counts pixels and needs none.
        masks: flat, what all members agree on, nothing of any class elsewhere.
        places: flat, where in its image each disputed pixel is; none where the metric counts pixels.
        tables: M × 65536 values of the codes of each member; M × 0 where the codes are their own values.
        far: how far apart totals of weight 1 always differ in their codes.
    """

    starts: Numbers
    codes: Codes
    truth: npt.NDArray[np.uint8]
    counts: Numbers
    counted: Numbers
    mask_starts: Numbers
    masks: npt.NDArray[Any]
    places: npt.NDArray[np.int32]
    tables: Numbers
    far: int

    @property
    def groups(self) -> int:
        """G."""
        return (len(self.starts) - 1) // max(len(self.counted), 1)


class _Group(NamedTuple):
    """Disputed pixels: members × planes × n codes, and their (n,) truth and places."""

    codes: Codes
    truth: npt.NDArray[np.uint8]
    places: Numbers


class _Found(NamedTuple):
    """Of one image, see ``Pixels``."""

    groups: list[_Group]
    counts: Numbers
    counted: int
    mask: Mask | None


def collect(
    members: Sequence[OofMember],
    ids: Sequence[str],
    images: Images,
    combination: Combination,
    thresholds: Sequence[int],
    most: int,
) -> Pixels:
    """The disputed pixels of all images.

    Args:
        thresholds: (C,) codes; unused where classes exclude each other.
        most: bytes of codes, and of whatever else, that are held in memory each; more go to temporary files.

    Raises:
        SegfoldError: see ``Disputed.of``.
    """
    find = _Finder(members, images, combination, thresholds)
    codes, truth, masks = Pile(np.uint16, most), Pile(np.uint8, most), Pile(images.task.dtype, most)
    places = Pile(np.int32, most)
    sizes, mask_sizes, counts, counted = [0], [0], [], []
    for found in _in_order(find, ids, images):
        for group in found.groups:
            codes.add(group.codes)
            sizes.append(group.truth.size)
            truth.add(group.truth)
            if not find.by_count:
                places.add(group.places)
        mask_sizes.append(0 if found.mask is None else found.mask.size)
        if found.mask is not None:
            masks.add(found.mask)
        counts.append(found.counts)
        counted.append(found.counted)
    return Pixels(
        np.cumsum(sizes, dtype=np.int64),
        codes.whole(),
        truth.whole(),
        np.array(counts, np.int64).reshape(len(ids), 3, len(images.task.classes)),
        np.array(counted, np.int64),
        np.cumsum(mask_sizes, dtype=np.int64),
        masks.whole(),
        places.whole(),
        find.tables,
        0 if combination.together else int(find.apart[0]),
    )


def _in_order(find: "_Finder", ids: Sequence[str], images: Images) -> Iterator[_Found]:
    """Of each image; threads share the work, a few images ahead of what is taken."""
    threads = cores()
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(ids), 4 * threads):
            yield from pool.map(find, ids[first : first + 4 * threads])
            images.on_image(min(first + 4 * threads, len(ids)))


class _Finder:
    """Finds what members dispute in an image."""

    def __init__(
        self, members: Sequence[OofMember], images: Images, combination: Combination, thresholds: Sequence[int]
    ) -> None:
        self.members, self.images, self.combination = members, images, combination
        self.task = images.task
        self.by_count = isinstance(images.metric, CountMetric)
        places = [combination.place(member.name) for member in members]
        self.places = places
        if combination.name in ("mean", "vote"):
            self.tables = np.zeros((len(members), 0), np.int64)
        else:
            self.tables = np.stack([combination.values(place, _ALL[None, None])[0, 0] for place in places])
        self.alone, self.apart = _apart(self.tables, combination)
        if not self.task.exclusive:
            # A product of many members may be foreground where one alone is not, and the other way about.
            most = [[combination.bound(code, 1, count) for code in thresholds] for count in (1, len(members))]
            self.least = self._codes_from(np.min(most, axis=0))
            self.sure = self._codes_from(np.max(most, axis=0))

    def _codes_from(self, bounds: Numbers) -> Numbers:
        """M × C codes from which each member's values are at least the bound of each class."""
        return np.array([np.searchsorted(table, bounds) if table.size else bounds for table in self.tables], np.int64)

    def __call__(self, name: str) -> _Found:
        truth = self._truth(name)
        height, width = truth.shape
        classes = len(self.task.classes)
        step = max(1, _BAND // max(2 * len(self.members) * classes * width, 1))
        counts, counted, masks = np.zeros((3, classes), np.int64), 0, []
        bands: list[list[_Group]] = []
        for top in range(0, height, step):
            bottom = min(top + step, height)
            codes = self._codes(name, None if step >= height else (top, bottom))
            true = truth[top:bottom]
            planes, valid = self.task.planes(true).reshape(classes, -1), self.task.valid(true)
            valid = np.ones(true.size, np.bool_) if valid is None else valid.reshape(-1)
            # A metric that looks at the mask sees for itself which pixels do not count.
            looked_at = valid if self.by_count else np.ones_like(valid)
            agreed, disputed = self._split(codes, looked_at)
            counts += [(agreed & planes).sum(axis=1), agreed.sum(axis=1), planes.sum(axis=1)]
            counted += int(np.count_nonzero(looked_at))
            if not self.by_count:
                masks.append(self.task.mask(agreed.reshape(classes, *true.shape)))
            truths = [true.reshape(-1)] if self.task.exclusive else planes
            bands.append(
                [
                    _Group(block[:, :, places], each[places].astype(np.uint8), places + top * width)
                    for block, each, places in zip(self._by_group(codes), truths, disputed, strict=True)
                ]
            )
        groups = [
            _Group(*(np.concatenate(each, axis=-1) for each in zip(*pieces))) for pieces in zip(*bands, strict=True)
        ]
        return _Found(groups, counts, counted, None if self.by_count else np.concatenate(masks))

    def _truth(self, name: str) -> Mask:
        truth = self.images.truth(name)
        for member in self.members:
            shape = member.shape(name)
            if shape != (len(self.task.classes), *truth.shape):
                raise SegfoldError(
                    f"image {name}: run {member.name} predicts {shape}, its mask is {truth.shape} of "
                    f"{len(self.task.classes)} classes; predict it anew on this data"
                )
        return truth

    def _codes(self, name: str, rows: Rows | None) -> Codes:
        """M × C × n codes of some rows of an image, or votes."""
        found = []
        for member, place in zip(self.members, self.places):
            (stored,) = member.stored(name)
            codes = read_codes(stored, rows)
            if self.combination.name == "vote":
                codes = self.combination.values(place, codes).astype(np.uint16)
            found.append(codes.reshape(len(codes), -1))
        return np.stack(found)

    def _by_group(self, codes: Codes) -> list[Codes]:
        """The M × P × n codes of each group."""
        return [codes] if self.task.exclusive else [codes[:, index : index + 1] for index in range(codes.shape[1])]

    def _split(self, codes: Codes, looked_at: Flags) -> tuple[Flags, list[Numbers]]:
        """C × n pixels that all members hold for a class, and the places of each group's disputed pixels."""
        if self.task.exclusive:
            winners, disputed = split_classes(codes, self.tables, self.alone, self.apart, looked_at)
            return winners == np.arange(codes.shape[1])[:, None], [disputed]
        each = [
            split(codes[:, index], self.least[:, index], self.sure[:, index], looked_at)
            for index in range(codes.shape[1])
        ]
        return np.stack([agreed for agreed, _ in each]), [places for _, places in each]


def _apart(tables: Numbers, combination: Combination) -> tuple[Codes, Numbers]:
    """What ``split_classes`` takes: the code that each value of a member stands for, and the widest code from each one on."""
    if combination.together:  # the codes decide as the totals do
        return np.zeros((len(tables), 0), np.uint16), np.ones(len(_ALL), np.int64)
    bounds = combination.bounds(1)
    end = int(tables.max()) + 1 if tables.size else len(_ALL)
    widths = np.diff(bounds, append=max(end, int(bounds[-1]) + 1))
    apart = np.maximum.accumulate(widths[::-1])[::-1]
    return combination.codes(tables, 1), np.ascontiguousarray(apart)
