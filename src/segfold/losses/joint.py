"""What losses share that judge a pixel's classes together where these exclude each other.

A loss of this kind is a map of N×R×P losses: of exclusive classes there is one row (R = 1), of others a row a class (R = C).
Where classes have weights, in the one row each pixel has the weight of its class, in the other case each row that of its own.
"""

import copy
from collections.abc import Mapping
from typing import NamedTuple, Self

import torch.nn.functional as F
from torch import Tensor

from segfold.losses.base import flat_valid, flat_weight
from segfold.losses.classes import Classes


class Joint:
    """Base of such losses. Until ``among`` says otherwise each class is judged by itself.

    Attributes:
        name: in settings, for messages.
        class_weights: by the classes' names, as in settings; None: the same for each.
        classes: those that ``among`` was given.
        weights: of ``classes`` (C float32); None: the same for each.
    """

    name: str
    class_weights: Mapping[str, float] | None = None
    classes: Classes = Classes()
    weights: Tensor | None = None

    def among(self, classes: Classes) -> Self:
        """The loss of these classes. Of exclusive ones, ``sums`` takes plain logits with N×1×H×W class indices or N×C×H×W shares.

        Raises:
            SegfoldError: a setting does not fit the classes.
        """
        bound = copy.copy(self)
        bound.classes = classes
        bound.weights = classes.weights(self.class_weights, f"loss.mask.{self.name}.class_weights")
        return bound

    def mean_over_rows(self, losses: Tensor) -> Tensor:
        """Mean of …×R over its rows, by the classes' weights where rows are classes."""
        if self.weights is None or self.classes.exclusive:
            return losses.mean(dim=-1)
        weights = self.weights.to(losses.device)
        return (losses * weights).sum(dim=-1) / weights.sum()


class JointPixels(NamedTuple):
    """The inputs of a loss of exclusive classes with the two image axes made one (P = H·W)."""

    logits: Tensor  # N×C×P float32
    label: Tensor  # N×1×P int64; of mixed targets the class with the largest share
    shares: Tensor | None  # N×C×P float32; None: each pixel is of its label alone
    valid: Tensor | None  # N×1×P bool
    weight: Tensor  # N float32

    def weights(self, classes: Tensor | None) -> Tensor | None:
        """Of pixels (N×1×P) from those of classes (C); of mixed targets the mean by shares."""
        if classes is None:
            return None
        classes = classes.to(self.logits.device)
        if self.shares is None:
            return classes[self.label]
        return (self.shares * classes[:, None]).sum(dim=1, keepdim=True)

    def cross_entropy(self, classes: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """``-Σ_c w_c y_c log p_c`` of each pixel (N×1×P), for targets moved towards 1/C by ``smoothing``."""
        target = self.label.squeeze(1) if self.shares is None else self.shares
        weights = None if classes is None else classes.to(self.logits.device)
        losses = F.cross_entropy(self.logits, target, weights, reduction="none", label_smoothing=smoothing)
        return losses.unsqueeze(1)


def flatten_joint(logits: Tensor, target: Tensor, valid: Tensor | None, weight: Tensor | None) -> JointPixels:
    """Check the shapes against each other and bring all floats to float32.

    Args:
        logits: N×C×H×W, of at least two classes.
        target: N×1×H×W class indices below C, also where pixels are not valid; or N×C×H×W shares that add up to 1.
        valid: N×1×H×W bool or None.
        weight: N or None.
    """
    n, c = logits.shape[:2]
    indices = target.shape == (n, 1, *logits.shape[2:])
    if logits.ndim != 4 or c < 2 or not (indices or target.shape == logits.shape):
        raise ValueError(
            f"logits {tuple(logits.shape)} of exclusive classes must be N×C×H×W, and their target {tuple(target.shape)} "
            "N×1×H×W or N×C×H×W"
        )
    shares = None if indices else target.float().reshape(n, c, -1)
    label = target.long().reshape(n, 1, -1) if shares is None else shares.argmax(dim=1, keepdim=True)
    inside = flat_valid(logits[:, :1], valid)
    return JointPixels(logits.float().reshape(n, c, -1), label, shares, inside, flat_weight(logits, weight))


def row_sums(losses: Tensor, amount: Tensor | None, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sums over the valid pixels of each row: of the losses, and of what each pixel counts for.

    Args:
        losses: N×R×P.
        amount: N×1×P or N×R×P, None: 1 each.
        valid: N×1×P or N×R×P bool or None.

    Returns:
        both N×R.
    """
    if valid is not None:
        losses = losses * valid
        amount = valid if amount is None else amount * valid
    total = losses.sum(dim=2)
    if amount is None:
        return total, total.new_full(total.shape, losses.shape[2])
    return total, amount.sum(dim=2).to(total.dtype).expand(total.shape)


def ratio(total: Tensor, amount: Tensor) -> Tensor:
    """``total / amount``, 0 where there is no amount."""
    return total / amount.where(amount > 0, 1.0)
