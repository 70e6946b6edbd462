"""Training of one fold."""

from segfold.training.fold import train_fold
from segfold.training.job import FoldJob
from segfold.training.progress import Progress

__all__ = ["FoldJob", "Progress", "train_fold"]
