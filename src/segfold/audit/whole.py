"""The whole audit of a competition: what was looked at, and what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from segfold.audit.alike import FLIPS, Alike, find_alike
from segfold.audit.labels import Suspicion, find_suspicious
from segfold.audit.measures import Measures, measures_of
from segfold.audit.shift import Shift, find_shift
from segfold.competition import Competition
from segfold.data.folds import fold_path, given_folds, read_folds
from segfold.data.images import ImageSet, has_test, load_split
from segfold.ensemble.blend import OofMember
from segfold.errors import SegfoldError
from segfold.observer import SILENT, Observer
from segfold.tasks import Mask, Task

SUSPICIOUS = 0.5
"""Suspicion of a label from which it is worth a look."""
ONE_PICTURE = 0.98
"""Correlation from which two images are held for one picture, whose masks ought to agree."""


@dataclass(frozen=True)
class Audit:
    """What an audit looked at and found. Images are numbered from 0: those of the training set, then the test set's.

    Attributes:
        test: None where the competition has no test images.
        folds: of the training images; None where there is no fold file.
        least: correlation from which images are alike.
        alike: near-duplicates; the nearest of other folds, then of the other split, are its ``across``.
        shift: None where there is nothing to compare.
        members: the runs whose out-of-fold predictions the labels were held against.
        suspicions: of every mask that they have predicted.
    """

    competition: Competition
    train: ImageSet
    test: ImageSet | None
    folds: npt.NDArray[np.int64] | None
    least: float
    alike: Alike
    shift: Shift | None
    members: tuple[OofMember, ...]
    suspicions: tuple[Suspicion, ...]

    @cached_property
    def ids(self) -> npt.NDArray[np.object_]:
        """Of all images."""
        return np.concatenate([self.train.ids, [] if self.test is None else self.test.ids]).astype(object)

    @cached_property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Whether an image has one value alone."""
        parts = [self.train.constant] if self.test is None else [self.train.constant, self.test.constant]
        return np.concatenate(parts).astype(bool)

    def split(self, image: int) -> str:
        """That an image is of."""
        return "train" if image < len(self.train) else "test"

    def fold(self, image: int) -> str:
        """That holds an image out, as fold files say it; empty of a test image, and where no folds are known."""
        if self.folds is None or image >= len(self.train):
            return ""
        return "train" if self.folds[image] < 0 else str(self.folds[image])

    def pixels(self, image: int) -> tuple[ImageSet, int]:
        """The split of an image, and its row there."""
        if image < len(self.train):
            return self.train, image
        assert self.test is not None
        return self.test, image - len(self.train)

    @cached_property
    def agreement(self) -> npt.NDArray[np.float64]:
        """(N,) of each training image and its nearest, how far their masks agree; NaN where that is no training image."""
        nearest = self.alike.nearest
        found = np.full(len(self.train), np.nan)
        masks = self.train.masks
        assert masks is not None
        for row in np.flatnonzero(nearest.image[: len(self.train)] >= 0).tolist():
            other = int(nearest.image[row])
            if other < len(self.train) and masks[row].shape == masks[other].shape:
                found[row] = agreement(self.train.task, masks[row], mirrored(masks[other], int(nearest.flip[row])))
        return found

    @cached_property
    def joined_groups(self) -> list[str]:
        """Name of each training image's group, where near-duplicates and the competition's own groups are joined; "" of none."""
        count = len(self.train)
        own = [""] * count if self.train.groups is None else [str(name) for name in self.train.groups]
        names = sorted(set(own) - {""})
        place = {name: count + self.alike.groups + number for number, name in enumerate(names)}
        links = [(row, count + int(self.alike.group[row])) for row in range(count) if self.alike.group[row] >= 0]
        links += [(row, place[name]) for row, name in enumerate(own) if name]
        ends = np.array(links, np.int64).reshape(-1, 2).T
        nodes = count + self.alike.groups + len(names)
        edges = coo_matrix((np.ones(ends.shape[1], np.int8), (ends[0], ends[1])), shape=(nodes, nodes))
        part = connected_components(edges, directed=False)[1]
        called = {int(part[node]): f"alike-{node - count}" for node in range(count, count + self.alike.groups)[::-1]}
        called |= {int(part[place[name]]): name for name in names[::-1]}
        return [called.get(int(part[row]), "") for row in range(count)]


def audit(
    competition: Competition,
    home: Path = Path(),
    folds: Path | None = None,
    members: Sequence[OofMember] = (),
    least: float = 0.9,
    observer: Observer = SILENT,
) -> Audit:
    """Looks for shift, near-duplicates and, with runs, for suspicious labels.

    Args:
        folds: a fold file; None for the usual one, or the competition's own split.
        members: runs with out-of-fold predictions.
        least: correlation from which two images are near-duplicates.
        observer: told of how far it has come.

    Raises:
        SegfoldError: no data, a fold file of other data, a correlation that is none.
    """
    if not 0 < least <= 1:
        raise SegfoldError(f"images alike from a correlation of {least:g}: expected a number above 0, up to 1")
    train = load_split(competition, "train", home, observer.say)
    test = load_split(competition, "test", home, observer.say) if has_test(competition, home) else None
    numbers = find_folds(competition, train, home, folds)
    measures = [
        _measured(images, name, observer)
        for images, name in ((train, "training"), (test, "test"))
        if images is not None
    ]
    small = np.concatenate([each.small for each in measures])
    beyond = len(small) - len(train)
    in_fold = np.zeros(len(train), np.int64) if numbers is None else numbers - numbers.min()
    places = np.concatenate([in_fold, np.full(beyond, -1)]), np.repeat([0, 1], [len(train), beyond])
    alike = find_alike(
        small, places, least, lambda done: observer.predicting("images held against each other", done, len(small))
    )
    shift = None if len(measures) == 1 else find_shift(measures[0], measures[1], alike.group)
    suspicions: list[Suspicion] = []
    if members:
        suspicions = find_suspicious(
            members, train, lambda done, of: observer.predicting("labels held against the runs", done, of)
        )
    return Audit(competition, train, test, numbers, least, alike, shift, tuple(members), tuple(suspicions))


def _measured(images: ImageSet, name: str, observer: Observer) -> Measures:
    return measures_of(images, lambda done: observer.predicting(f"{name} images measured", done, len(images)))


def find_folds(
    competition: Competition, train: ImageSet, home: Path, path: Path | None = None
) -> npt.NDArray[np.int64] | None:
    """The folds of a file; without one the competition's own split, else the usual file, else any; None if there is none.

    Raises:
        SegfoldError: a file of other data.
    """
    if path is None and train.held_out is not None:
        return given_folds(train.held_out)
    if path is None:
        path = find_fold_file(competition, home)
    return None if path is None else read_folds(path, train.ids)


def find_fold_file(competition: Competition, home: Path) -> Path | None:
    """The usual fold file of a competition, else any; None if there is none."""
    usual = fold_path(competition.name, 5, home)
    others = (usual.with_name(f"{competition.name}-{k}.csv") for k in range(2, 21))
    return next((each for each in (usual, *others) if each.exists()), None)


def mirrored(pixels: npt.NDArray, flip: int) -> npt.NDArray:
    """An image or mask, mirrored by one of ``FLIPS``."""
    across, down = FLIPS[flip] in ("hflip", "both"), FLIPS[flip] in ("vflip", "both")
    return pixels[:: -1 if down else 1, :: -1 if across else 1]


def agreement(task: Task, one: Mask, other: Mask) -> float:
    """Share of pixels with the same classes among those where either of two masks H×W has an object; 1 where none has."""
    counts, nothing = np.ones(one.shape, bool), task.empty((one.shape[0], one.shape[1]))
    if nothing is not None:
        counts &= (one != nothing) | (other != nothing)
    for mask in (one, other):
        if (valid := task.valid(mask)) is not None:
            counts &= valid
    union = int(np.count_nonzero(counts))
    return int(np.count_nonzero((one == other) & counts)) / union if union else 1.0
