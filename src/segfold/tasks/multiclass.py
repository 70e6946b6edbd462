"""Several classes of which each pixel has just one, but for pixels that do not count: void."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.metrics import Counts
from segfold.resize import Shape, stretched_labels
from segfold.tasks.base import Mask, Planes, Task
from segfold.tasks.strata import Strata, rarest_class_strata

if TYPE_CHECKING:
    from torch import Tensor

VOID = 255
"""In masks in memory, whatever the files have for it."""
_OTHER = "other"


class Multiclass(Task):
    """Masks are H×W uint8 of class indices, and ``VOID`` where a pixel does not count.

    Args:
        classes: C names, at most 255.
        background: index of the class that stands for "no object"; no class does unless the competition says so.

    Raises:
        SegfoldError: fewer than two classes or too many, a background that is none of them.
    """

    name = "multiclass"
    exclusive = True
    usual_metric = "miou"
    activation = "softmax"
    fill = VOID
    dtype = np.uint8

    def __init__(self, classes: Sequence[str], background: int | None = None) -> None:
        super().__init__(classes)
        if not 2 <= len(self.classes) <= VOID:
            raise SegfoldError(
                f"task multiclass has {len(classes)} classes: expected 2 to {VOID}, the background if any too"
            )
        if background is not None and not 0 <= background < len(self.classes):
            raise SegfoldError(f"background is {background}: expected the index of a class, 0 to {len(classes) - 1}")
        self.background = background

    def planes(self, mask: Mask) -> Planes:
        return np.asarray(mask == np.arange(len(self.classes), dtype=np.uint8)[:, None, None])

    def mask(self, planes: npt.NDArray) -> Mask:
        """A later class lies over an earlier one; what has no class is background, or void where there is none."""
        found = np.full(planes.shape[1:], VOID if self.background is None else self.background, np.uint8)
        for index, plane in enumerate(planes):
            if index != self.background:
                found[plane != 0] = index
        return found

    def read(self, values: npt.NDArray, void: int | None, where: str) -> Mask:
        known = values < len(self.classes)
        if void is not None:
            known |= values == void
        if not known.all():
            beyond = np.unique(values[~known])
            raise SegfoldError(
                f"{where} holds class index {', '.join(map(str, beyond[:5]))}{' …' if len(beyond) > 5 else ''}: expected 0 to "
                f"{len(self.classes) - 1}, one for each of {len(self.classes)} classes"
                f"{'' if void is None else f', or void ({void})'}; add the classes, or set void in the competition file"
            )
        return np.where(values < len(self.classes), values, VOID).astype(np.uint8)

    def valid(self, mask: Mask) -> npt.NDArray[np.bool_] | None:
        return np.asarray(mask != VOID)

    def empty(self, shape: Shape) -> Mask | None:
        return None if self.background is None else np.full(shape, self.background, np.uint8)

    def areas(self, mask: Mask) -> npt.NDArray[np.int64]:
        return np.bincount(mask.reshape(-1), minlength=VOID + 1)[: len(self.classes)].astype(np.int64)

    def foreground(self, mask: Mask) -> int:
        areas = self.areas(mask)
        return int(areas.sum() - (0 if self.background is None else areas[self.background]))

    def resized(self, mask: Mask, shape: Shape) -> Mask:
        return stretched_labels(mask, shape)

    def target(self, mask: Mask) -> npt.NDArray[np.uint8]:
        return np.where(mask == VOID, 0, mask).astype(np.uint8)[None]

    def target_planes(self, target: npt.NDArray, valid: npt.NDArray) -> Planes:
        if len(target) == 1:
            target = self.planes(target[0])
        return super().target_planes(target, valid)

    def with_other(self) -> Task:
        count = len(self.classes)
        if self.background is not None:
            return self
        if count == VOID:
            raise SegfoldError(
                f"the competition has {count} classes and no background, which leaves no number for what is none of them: "
                "name a background, or train on proposals or crops"
            )
        return Multiclass((*self.classes, _OTHER if _OTHER not in self.classes else f"{_OTHER} than these"), count)

    def alone(self, mask: Mask, index: int, pixels: npt.NDArray[np.bool_]) -> Mask:
        assert self.background is not None
        found = np.where(mask == VOID, VOID, self.background).astype(np.uint8)
        found[pixels] = index
        return found

    def activated(self, logits: "Tensor") -> "Tensor":
        return logits.float().softmax(dim=1)

    def decided(self, codes: npt.NDArray[np.uint16], thresholds: Sequence[int] = ()) -> Mask:
        return codes.argmax(axis=0).astype(np.uint8)

    def confusion(self, pred: Mask, truth: Mask) -> npt.NDArray[np.int64]:
        """C×C pixels that count, by true class (rows) and predicted class."""
        return self._confusion(pred, truth)[:, :-1]

    def counts(self, pred: Mask, truth: Mask) -> Counts:
        matrix = self._confusion(pred, truth)
        inter, pred_area, truth_area = matrix.diagonal(), matrix.sum(axis=0)[:-1], matrix.sum(axis=1)
        return Counts(inter.copy(), pred_area + truth_area - inter, pred_area, truth_area)

    def _confusion(self, pred: Mask, truth: Mask) -> npt.NDArray[np.int64]:
        """C×(C + 1): the last column is of pixels for which no class was predicted."""
        count = len(self.classes)
        valid = truth != VOID
        places = (count + 1) * truth[valid].astype(np.int64) + np.minimum(pred[valid], count)
        return np.bincount(places, minlength=count * (count + 1)).reshape(count, count + 1)

    def strata(self, areas: npt.NDArray, pixels: npt.NDArray) -> Strata:
        return rarest_class_strata(areas, pixels, self.classes, self.background)
