"""Training of one fold."""

from segfold.training.fold import train_fold
from segfold.training.plan import FoldJob
from segfold.training.processes import Group, join_group, leave_group
from segfold.training.progress import Progress

__all__ = ["FoldJob", "Group", "Progress", "join_group", "leave_group", "train_fold"]
