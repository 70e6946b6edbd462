"""What one fold's training is made from; nothing in it changes while it trains."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segfold.competition import Competition
from segfold.config import Experiment, Stage
from segfold.data.images import ImageSet
from segfold.errors import SegfoldError
from segfold.runs import FoldFolder

FAST_IMAGES = 64


@dataclass(frozen=True)
class FoldJob:
    """One fold of an experiment on a competition's training images."""

    experiment: Experiment
    competition: Competition
    images: ImageSet
    folds: np.ndarray
    """Fold number of each image, aligned to ``images.ids``."""
    fold: int
    folder: FoldFolder

    def __post_init__(self) -> None:
        count = int(self.folds.max()) + 1
        if not 0 <= self.fold < count:
            raise SegfoldError(f"fold {self.fold} is out of range: the fold file has folds 0 to {count - 1}")
        if len(self.training_rows) < 2:
            raise SegfoldError(f"fold {self.fold}: {len(self.training_rows)} images to train on; at least 2 are needed")

    @cached_property
    def stages(self) -> list[tuple[str, Stage]]:
        stages = list(self.experiment.stages.items())
        if self.experiment.fast:
            stages = [(name, stage.model_copy(update={"epochs": min(stage.epochs, 1)})) for name, stage in stages]
        return stages

    @cached_property
    def epochs(self) -> int:
        return sum(stage.epochs for _, stage in self.stages)

    @cached_property
    def training_rows(self) -> np.ndarray:
        return self._some(np.flatnonzero(self.folds != self.fold))

    @cached_property
    def validation_rows(self) -> np.ndarray:
        return self._some(np.flatnonzero(self.folds == self.fold))

    def _some(self, rows: np.ndarray) -> np.ndarray:
        return rows[:FAST_IMAGES] if self.experiment.fast else rows

    @cached_property
    def batch_size(self) -> int:
        return min(self.experiment.batch_size, len(self.training_rows))

    @cached_property
    def steps_per_epoch(self) -> int:
        return len(self.training_rows) // self.batch_size

    @cached_property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @cached_property
    def work(self) -> list[float]:
        """Pixels that each stage sends through the network, in units of images of 1×1; the ground of "time left"."""
        return [stage.epochs * self.work_of_an_epoch(stage) for _, stage in self.stages]

    def work_of_an_epoch(self, stage: Stage) -> float:
        height, width = self.experiment.input.model_copy(
            update={"size": stage.size or self.experiment.input.size}
        ).shape
        return self.steps_per_epoch * self.batch_size * height * width

    def work_done(self, stage: int, epoch: int, step: int) -> float:
        """Work before a position: stages before, whole epochs and steps of the present one."""
        share = epoch + step / self.steps_per_epoch
        return sum(self.work[:stage]) + share * self.work_of_an_epoch(self.stages[stage][1])

    @cached_property
    def seed(self) -> int:
        return self.experiment.seed * 1009 + self.fold

    @cached_property
    def bound(self) -> dict[str, str]:
        """Hashes of the data and the folds; a checkpoint made from others cannot be resumed."""
        pairs = "\n".join(f"{name},{fold}" for name, fold in zip(self.images.ids, self.folds))
        return {"data": self.images.fingerprint, "folds": hashlib.sha256(pairs.encode()).hexdigest()}
