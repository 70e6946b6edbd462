"""A task: all that depends on what a competition's masks are. Nothing else asks which task it is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from segfold.metrics import Counts
from segfold.resize import Shape
from segfold.tasks.strata import Strata

if TYPE_CHECKING:
    from torch import Tensor

Mask = npt.NDArray[np.unsignedinteger]
Planes = npt.NDArray[np.bool_]


class Task(ABC):
    """The classes of a competition, how its masks hold them, and what follows from that.

    Args:
        classes: C names in the order of the network's planes.

    Attributes:
        classes: C names.
        name: as competition files call it.
        exclusive: whether a pixel has just one class, so that probabilities are a softmax over them; else each class has
            a probability of its own, a sigmoid.
        usual_metric: name of the metric that most competitions with such masks have.
        activation: name of the function from logits to probabilities.
        fill: value of what lies outside a mask that is moved or padded: it does not count; None where the mask is
            continued as its image is.
        background: index of the class that stands for "no object"; None where there is none.
    """

    name: ClassVar[str]
    exclusive: ClassVar[bool] = False
    usual_metric: ClassVar[str] = "dice"
    activation: ClassVar[str] = "sigmoid"
    fill: ClassVar[int | None] = None
    background: int | None = None

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.name, self.classes, self.background))

    @property
    def rows(self) -> tuple[int, ...]:
        """Indices of the classes that a submission has rows for: all but the background."""
        return tuple(index for index in range(len(self.classes)) if index != self.background)

    @property
    @abstractmethod
    def dtype(self) -> npt.DTypeLike:
        """Of a mask in memory."""

    @abstractmethod
    def planes(self, mask: Mask) -> Planes:
        """C×H×W: the pixels of each class of a mask H×W."""

    @abstractmethod
    def mask(self, planes: npt.NDArray) -> Mask:
        """The mask of planes C×H×W, true (or not 0) where a class is; what ``planes`` takes apart."""

    @abstractmethod
    def read(self, values: npt.NDArray, void: int | None, where: str) -> Mask:
        """The mask of the values of a mask file.

        Args:
            values: H×W.
            void: value of pixels that do not count; None where every pixel counts.
            where: what to call the file.

        Raises:
            SegfoldError: values that are no class.
        """

    def valid(self, mask: Mask) -> npt.NDArray[np.bool_] | None:
        """H×W, the pixels that count; None for all."""
        return None

    def empty(self, shape: Shape) -> Mask | None:
        """The mask of an image without any object; None where every pixel has a class."""
        return np.zeros(shape, self.dtype)

    def areas(self, mask: Mask) -> npt.NDArray[np.int64]:
        """(C,) pixels of each class."""
        return self.planes(mask).sum(axis=(1, 2), dtype=np.int64)

    def foreground(self, mask: Mask) -> int:
        """How many pixels have a class that is not the background."""
        return int(np.count_nonzero(mask))

    @abstractmethod
    def resized(self, mask: Mask, shape: Shape) -> Mask:
        """A mask at another size."""

    def spread(self, mask: Mask) -> npt.NDArray:
        """A mask as augmentations move it: H×W, or H×W×C with a plane a class; ``gathered`` takes it back."""
        return mask

    def gathered(self, spread: npt.NDArray) -> Mask:
        """What ``spread`` spread."""
        return spread

    @abstractmethod
    def target(self, mask: Mask) -> npt.NDArray[np.uint8]:
        """What losses compare logits with: C×H×W of 0 and 1, or 1×H×W class indices where classes are exclusive."""

    def target_planes(self, target: npt.NDArray, valid: npt.NDArray) -> Planes:
        """C×H×W: the pixels of each class of a target, or of mixed shares C×H×W; none where a pixel does not count.

        Args:
            target: as ``target`` gives it.
            valid: H×W bool.
        """
        return np.asarray((target > 0.5) & valid)

    def shares(self, mask: Mask) -> npt.NDArray[np.float32]:
        """H×W×C: how much of each pixel is of each class, so that masks can be mixed."""
        return np.ascontiguousarray(self.planes(mask).transpose(1, 2, 0)).astype(np.float32)

    def with_other(self) -> "Task":
        """With a further class, last and the background, for what is no class; itself where a pixel need not have one.

        It is what a network is trained by where all but an object counts as background and the competition has none. Its
        plane is never predicted.

        Raises:
            SegfoldError: there are as many classes as a mask can hold.
        """
        return self

    def alone(self, mask: Mask, index: int, pixels: npt.NDArray[np.bool_]) -> Mask:
        """A mask of one object: of its class where it lies, and of no class elsewhere; void stays void.

        Args:
            mask: H×W, in which the object's pixels have its class.
            index: of the object's class.
            pixels: H×W, where the object lies.
        """
        return np.where(pixels, 1 << index, 0).astype(self.dtype)

    def activated(self, logits: "Tensor") -> "Tensor":
        """Probabilities of logits N×C×H×W, float32."""
        return logits.float().sigmoid()

    def plain(self, half: int) -> tuple[int, ...]:
        """Thresholds of a plain decision: ``half`` for each class."""
        return (half,) * len(self.classes)

    @abstractmethod
    def decided(self, codes: npt.NDArray[np.uint16], thresholds: Sequence[int]) -> Mask:
        """The mask of stored probabilities.

        Args:
            codes: C×H×W.
            thresholds: a code a class, from which a pixel has the class; exclusive classes need none, the most probable
                one is taken.
        """

    def counts(self, pred: Mask, truth: Mask) -> Counts:
        """Pixels that count, by class: arrays (C,)."""
        found, wanted = self.planes(pred), self.planes(truth)
        valid = self.valid(truth)
        if valid is not None:
            found &= valid
        inter, pred_area, truth_area = (
            each.sum(axis=(1, 2), dtype=np.int64) for each in (found & wanted, found, wanted)
        )
        return Counts(inter, pred_area + truth_area - inter, pred_area, truth_area)

    @abstractmethod
    def strata(self, areas: npt.NDArray, pixels: npt.NDArray) -> Strata:
        """What the folds are stratified by.

        Args:
            areas: N×C pixels of each class.
            pixels: (N,) of each image.
        """
