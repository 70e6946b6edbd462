"""What every loss has in common: its two methods, its inputs, and the mean over images."""

from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import torch
from annotated_types import Ge, Le
from torch import Tensor

Price = Annotated[float, Ge(0), Le(100)]
"""Of a mistake, or the exponent that one is raised to."""
Smooth = Annotated[float, Ge(0), Le(1e6)]
"""In pixels."""


class Loss(Protocol):
    """A loss in two steps, so that a batch may be spread over processes and accumulation steps.

    ``value(sums(a) + sums(b))`` is the loss of the two batches ``a`` and ``b`` taken as one, and so are its
    gradients. A loss for which that cannot hold says ``additive = False``.

    A mean over images says ``linear = True``: its denominator is known before the logits are, so the gradients of
    ``a`` within the whole do not depend on the logits of ``b``.

    A loss judges each class by itself and needs to know no more of the classes: of such as exclude each other it is given
    the logits of each against the rest, ``segfold.losses.classes.log_odds``, and the target one-hot. One that judges
    the classes of a pixel together is a ``segfold.losses.joint.Joint``.
    """

    additive: bool
    linear: bool

    def sums(self, logits: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Sums over the images of a batch, from which ``value`` makes the loss.

        Args:
            logits: N×C×H×W, any float type; computed in float32.
            target: N×C×H×W in [0, 1]; each loss says what it makes of values in between.
            valid: N×1×H×W or N×C×H×W bool, the pixels that count (None: all). The others get no gradient.
            weight: N, how much an image counts, 0 for not at all (None: 1 each).

        Returns:
            float32 vector, differentiable with respect to ``logits``.
        """
        ...

    def value(self, sums: Tensor) -> Tensor:
        """The loss, a scalar; 0 where no image counted."""
        ...


@runtime_checkable
class MovingLoss(Loss, Protocol):
    """A loss that changes over a stage, other than by its weight."""

    def at(self, done: float) -> Loss:
        """The loss when a share ``done`` of the stage is over (0 to 1)."""
        ...


@runtime_checkable
class GapLoss(Loss, Protocol):
    """A loss that weighs pixels by the gap between their two nearest objects.

    Attributes:
        wants_gaps: whether it does, with the settings that it has.
    """

    @property
    def wants_gaps(self) -> bool: ...

    def sums(
        self,
        logits: Tensor,
        target: Tensor,
        valid: Tensor | None = None,
        weight: Tensor | None = None,
        gaps: Tensor | None = None,
    ) -> Tensor:
        """As ``Loss.sums``.

        Args:
            gaps: N×1×H×W, see ``segfold.losses.gaps.object_gaps``; None: objects are the connected parts of the target.
        """
        ...


class FlatPixels(NamedTuple):
    """The inputs of a loss with the two image axes made one (P = H·W)."""

    logits: Tensor  # N×C×P float32
    target: Tensor  # N×C×P float32
    valid: Tensor | None  # N×1×P or N×C×P bool
    weight: Tensor  # N float32


def flatten(logits: Tensor, target: Tensor, valid: Tensor | None, weight: Tensor | None) -> FlatPixels:
    """Check the shapes against each other and bring everything to float32.

    Float32 comes first, before any arithmetic: under autocast the logits arrive in 16 bits, in which sorting
    loses the order and a sum over an image overflows or stops growing.
    """
    if logits.ndim != 4 or target.shape != logits.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} must both be N×C×H×W")
    n, c = logits.shape[:2]
    return FlatPixels(
        logits.float().reshape(n, c, -1),
        target.float().reshape(n, c, -1),
        flat_valid(logits, valid),
        flat_weight(logits, weight),
    )


def flat_valid(logits: Tensor, valid: Tensor | None) -> Tensor | None:
    """N×1×H×W or, as the logits, N×C×H×W to N×1×P or N×C×P bool."""
    if valid is None:
        return None
    n = len(logits)
    if valid.shape not in ((n, 1, *logits.shape[2:]), tuple(logits.shape)):
        raise ValueError(f"valid {tuple(valid.shape)} does not fit logits {tuple(logits.shape)}")
    return valid.reshape(n, valid.shape[1], -1).bool()


def flat_weight(logits: Tensor, weight: Tensor | None) -> Tensor:
    """Weights of the images (N), 1 each for None."""
    n = len(logits)
    if weight is None:
        return logits.new_ones(n, dtype=torch.float32)
    if weight.shape != (n,):
        raise ValueError(f"weight {tuple(weight.shape)} must hold one number for each of {n} images")
    return weight.float()


def mean_over_pixels(loss: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of N×C×P over the valid pixels of each image, then over classes (N); 0 where no pixel is valid."""
    if valid is None:
        return loss.mean(dim=(1, 2))
    pixels = valid.sum(dim=2).clamp(min=1)
    return ((loss * valid).sum(dim=2) / pixels).mean(dim=1)


def mean_sums(per_image: Tensor, weight: Tensor) -> Tensor:
    """Numerator and denominator of the weighted mean over images (both N -> 2)."""
    return torch.stack([(per_image * weight).sum(), weight.sum()])


def mean_value(sums: Tensor) -> Tensor:
    """The mean whose parts ``mean_sums`` gave; 0 if nothing was counted."""
    numerator, denominator = sums.unbind()
    return numerator / torch.where(denominator == 0, 1.0, denominator)
