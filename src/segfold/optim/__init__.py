"""Optimisers and learning-rate schedules: plain functions listed by name."""

from segfold.optim.optimizers import OPTIMIZERS, build_optimizer
from segfold.optim.schedules import SCHEDULES, build_schedule

__all__ = ["OPTIMIZERS", "SCHEDULES", "build_optimizer", "build_schedule"]
