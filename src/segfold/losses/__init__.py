"""Losses: functions of logits and targets that add up exactly over steps and processes."""

from segfold.losses.base import Loss
from segfold.losses.combine import LOSSES, StageLoss, Term
from segfold.losses.lovasz import Lovasz
from segfold.losses.pixel import BCE
from segfold.losses.region import Dice

__all__ = ["BCE", "LOSSES", "Dice", "Loss", "Lovasz", "StageLoss", "Term"]
