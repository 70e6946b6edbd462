"""Losses: functions of logits and targets that add up exactly over steps and processes."""

from segfold.losses.base import GapLoss, Loss, MovingLoss
from segfold.losses.bootstrapped import Bootstrapped
from segfold.losses.boundary import Boundary
from segfold.losses.classes import Classes
from segfold.losses.combine import LOSSES, HeadTerm, Over, StageLoss, build_loss
from segfold.losses.cross_entropy import CrossEntropy
from segfold.losses.joint import Joint
from segfold.losses.lovasz import Lovasz
from segfold.losses.lovasz_softmax import LovaszSoftmax
from segfold.losses.pixel import BCE, Focal
from segfold.losses.region import Dice, InverseDice, Jaccard, Tversky
from segfold.losses.weighted import WeightedBCE

__all__ = [
    "BCE",
    "LOSSES",
    "Bootstrapped",
    "Boundary",
    "Classes",
    "CrossEntropy",
    "Dice",
    "Focal",
    "GapLoss",
    "HeadTerm",
    "InverseDice",
    "Jaccard",
    "Joint",
    "Loss",
    "Lovasz",
    "LovaszSoftmax",
    "MovingLoss",
    "Over",
    "StageLoss",
    "Tversky",
    "WeightedBCE",
    "build_loss",
]
