"""Losses: functions of logits and targets that add up exactly over steps and processes."""

from typing import Any

from segfold.losses.base import Loss, MovingLoss
from segfold.losses.bootstrapped import Bootstrapped
from segfold.losses.boundary import Boundary
from segfold.losses.combine import LOSSES, StageLoss, Term
from segfold.losses.lovasz import Lovasz
from segfold.losses.lovasz_softmax import LovaszSoftmax
from segfold.losses.pixel import BCE, Focal
from segfold.losses.region import Dice, Jaccard, Tversky
from segfold.losses.weighted import WeightedBCE
from segfold.schema import build

__all__ = [
    "BCE",
    "LOSSES",
    "Bootstrapped",
    "Boundary",
    "Dice",
    "Focal",
    "Jaccard",
    "Loss",
    "Lovasz",
    "LovaszSoftmax",
    "MovingLoss",
    "StageLoss",
    "Term",
    "Tversky",
    "WeightedBCE",
    "build_loss",
]


def build_loss(name: str, **settings: Any) -> Loss:
    """The loss ``LOSSES[name]`` with its settings.

    Raises:
        SegfoldError: a setting is out of range, or two do not go together.
    """
    return build(f"loss.mask.{name}", LOSSES[name], settings)
