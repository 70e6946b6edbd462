"""Training of one fold; ``loop`` is what one reads first."""

from segfold.training.loop import train_fold
from segfold.training.plan import FoldJob
from segfold.training.processes import Group, join_group, leave_group

__all__ = ["FoldJob", "Group", "join_group", "leave_group", "train_fold"]
