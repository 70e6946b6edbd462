"""The settings of an experiment: what a config file may say, with types, ranges, defaults and descriptions."""

from segfold.settings.boxes import Boxes, PredictedBoxes, Proposals
from segfold.settings.data import Folds, Input, Sampling
from segfold.settings.experiment import Experiment
from segfold.settings.loss import HeadLoss, LossTerms
from segfold.settings.running import Machine, Predict
from segfold.settings.training import Ema, Stage, Swa, Validation

__all__ = [
    "Boxes",
    "Ema",
    "Experiment",
    "Folds",
    "HeadLoss",
    "Input",
    "LossTerms",
    "Machine",
    "Predict",
    "PredictedBoxes",
    "Proposals",
    "Sampling",
    "Stage",
    "Swa",
    "Validation",
]
