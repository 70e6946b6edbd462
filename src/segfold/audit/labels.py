"""Suspicious labels: where every run, on an image that it has not trained on, is sure of something else than the mask."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from segfold.cores import cores
from segfold.data.images import ImageSet
from segfold.ensemble.blend import OofMember, common_ids
from segfold.errors import SegfoldError
from segfold.store.codes import HALF, TOP

Codes = npt.NDArray[np.uint16]
Planes = npt.NDArray[np.bool_]

Kind = Literal["only in the mask", "only in the runs", "elsewhere"]
"""What every run contradicts: a region that no run sees; one that all see where the mask has nothing; or parts of both."""

SMALL = 1e-3
"""Share of an image: a region of that size that all runs are sure of counts for half of a large one."""


@dataclass(frozen=True)
class Suspicion:
    """Of the mask of one class of one image.

    Attributes:
        label: index of the class.
        suspicion: 0 to 1: the pixels that every run contradicts, each by how sure the least sure run is, over the pixels
            that the mask or any run has, and ``SMALL`` of the image.
        contradicted: pixels.
        mask: pixels of the mask.
        all_runs: pixels that every run has.
        any_run: pixels that any run has.
    """

    image: str
    label: int
    suspicion: float
    contradicted: int
    mask: int
    all_runs: int
    any_run: int

    @property
    def kind(self) -> Kind:
        """What is contradicted."""
        if not self.mask:
            return "only in the runs"
        return "elsewhere" if self.any_run else "only in the mask"


def find_suspicious(
    members: Sequence[OofMember], images: ImageSet, on_image: Callable[[int, int], None] = lambda done, of: None
) -> list[Suspicion]:
    """Every mask of an image that all runs have predicted out of fold, the most suspicious first.

    A run has a class where its probability is one half or more; it is sure of a class by twice that probability less one,
    and of its absence likewise. A background class is not looked at, nor are pixels that do not count.

    Args:
        members: runs with out-of-fold predictions; their folds may differ.
        images: the training set.
        on_image: told how many images are done, of how many.

    Raises:
        SegfoldError: no image that all predict, or a prediction that does not fit its mask.
    """
    ids = common_ids(members).ids
    rows = dict(zip(ids, images.position(ids).tolist()))

    def work(image: str) -> list[Suspicion]:
        least, most = extremes(members, image)
        return _of_image(images, image, rows[image], least, most)

    found: list[Suspicion] = []
    with ThreadPoolExecutor(cores()) as pool:
        waiting = iter(ids)
        done = 0
        # Some images at a time, as predictions may be large.
        while chunk := list(islice(waiting, 4 * cores())):
            for each in pool.map(work, chunk):
                found += each
            done += len(chunk)
            on_image(done, len(ids))
    return sorted(found, key=lambda each: (-each.suspicion, each.image, each.label))


def extremes(members: Sequence[OofMember], image: str) -> tuple[Codes, Codes]:
    """C×H×W codes of an image: of each pixel the smallest that any run gives it, and the largest.

    Raises:
        SegfoldError: runs that predict different sizes.
    """
    least: Codes | None = None
    for member in members:
        store = member.stores[member.fold_of[image]]
        codes = store.codes(store.rows[image])
        if least is None:
            least, most = codes, codes.copy()
            continue
        if codes.shape != least.shape:
            raise SegfoldError(
                f"image {image}: run {member.name} predicts {codes.shape}, another run {least.shape}; "
                "predict both anew on the same data"
            )
        least, most = np.minimum(least, codes), np.maximum(most, codes)
    assert least is not None
    return least, most


def _of_image(images: ImageSet, image: str, row: int, least: Codes, most: Codes) -> list[Suspicion]:
    task, masks = images.task, images.masks
    assert masks is not None
    mask = masks[row]
    truth, valid = task.planes(mask), task.valid(mask)
    if least.shape != truth.shape:
        raise SegfoldError(
            f"image {image}: predicted {least.shape}, its mask is {truth.shape[1:]} of {len(task.classes)} classes; "
            "predict it anew on this data"
        )
    found = []
    for label in task.rows:
        wanted, seen, maybe = truth[label], least[label] >= HALF, most[label] >= HALF
        if valid is not None:
            wanted, seen, maybe = wanted & valid, seen & valid, maybe & valid
        union = int(np.count_nonzero(wanted | maybe))
        if not union:
            continue
        wrong, missed = seen & ~wanted, wanted & ~maybe
        # In twice the code less the highest, which is how sure a run is of the class.
        sure = int((2 * least[label][wrong].astype(np.int64) - TOP).sum())
        sure += int((TOP - 2 * most[label][missed].astype(np.int64)).sum())
        found.append(
            Suspicion(
                image,
                label,
                sure / TOP / (union + SMALL * mask.size),
                int(np.count_nonzero(wrong)) + int(np.count_nonzero(missed)),
                *(int(np.count_nonzero(each)) for each in (wanted, seen, maybe)),
            )
        )
    return found
