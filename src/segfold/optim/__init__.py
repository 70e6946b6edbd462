"""Optimisers, learning-rate schedules and early stopping: plain functions, those that settings choose from listed by name."""

from segfold.optim.early_stopping import stopped_early
from segfold.optim.groups import encoder_of, frozen_mode, parameter_groups, set_frozen
from segfold.optim.optimizers import OPTIMIZERS, build_optimizer, check_settings
from segfold.optim.schedules import SCHEDULES, Schedule, build_schedule, cycle_count, needs_scores, with_warmup

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Schedule",
    "build_optimizer",
    "build_schedule",
    "check_settings",
    "cycle_count",
    "encoder_of",
    "frozen_mode",
    "needs_scores",
    "parameter_groups",
    "set_frozen",
    "stopped_early",
    "with_warmup",
]
