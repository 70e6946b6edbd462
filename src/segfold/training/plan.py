"""What one fold's training is made from; nothing in it changes while it trains."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.data.sampling import draws, row_weights
from segfold.errors import SegfoldError
from segfold.runs.folder import FoldFolder
from segfold.settings import Experiment, Stage

FAST_IMAGES = 64


@dataclass(frozen=True)
class StagePlan:
    """A stage of one fold, with what it takes from the experiment's top level filled in."""

    name: str
    settings: Stage
    warmup: float
    """Share of the stage that the warm-up takes."""
    batch_size: int
    """Images an optimiser step, over all parts and processes."""
    weights: np.ndarray
    """How likely each training row is drawn; all equal for each once an epoch."""
    images: int
    """Training samples that an epoch draws; the last ones that do not fill a batch are left out."""
    steps: int
    """Optimiser steps an epoch."""
    pixels: int
    """Of the network's input."""
    optimizer: tuple[str, dict[str, Any]]

    @property
    def epochs(self) -> int:
        return self.settings.epochs

    @property
    def work_of_an_epoch(self) -> float:
        """Pixels through the network; the ground of "time left"."""
        return float(self.steps * self.batch_size * self.pixels)


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
    def stages(self) -> list[StagePlan]:
        return [self._plan(name, stage) for name, stage in self.experiment.stages.items()]

    def _plan(self, name: str, stage: Stage) -> StagePlan:
        experiment = self.experiment
        warmup = stage.warmup / max(stage.epochs, 1)
        if experiment.fast:
            stage = stage.model_copy(update={"epochs": min(stage.epochs, 1)})
        sample = stage.sample or experiment.sample
        weights = row_weights(
            self.images.coverage[self.training_rows],
            self.images.constant[self.training_rows],
            nonempty=sample.nonempty,
            area=sample.area,
            skip_constant=sample.skip_constant,
        )
        drawn = sample.images or draws(weights)
        batch_size = min(stage.batch_size or experiment.batch_size, drawn)
        height, width = experiment.input.model_copy(update={"size": stage.size or experiment.input.size}).shape
        optimizer = stage.optimizer or experiment.optimizer
        return StagePlan(
            name=name,
            settings=stage,
            warmup=warmup,
            batch_size=batch_size,
            weights=weights,
            images=drawn,
            steps=drawn // batch_size,
            pixels=height * width,
            optimizer=(optimizer.name, optimizer.settings),
        )

    @cached_property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    @cached_property
    def training_rows(self) -> np.ndarray:
        return self._some(np.flatnonzero(self.folds != self.fold))

    @cached_property
    def validation_rows(self) -> np.ndarray:
        return self._some(np.flatnonzero(self.folds == self.fold))

    def _some(self, rows: np.ndarray) -> np.ndarray:
        return rows[:FAST_IMAGES] if self.experiment.fast else rows

    @cached_property
    def last_stage(self) -> int:
        """The last stage that has epochs."""
        return max((number for number, stage in enumerate(self.stages) if stage.epochs), default=0)

    @cached_property
    def total_steps(self) -> int:
        return sum(stage.epochs * stage.steps for stage in self.stages)

    @cached_property
    def total_images(self) -> int:
        return sum(stage.epochs * stage.steps * stage.batch_size for stage in self.stages)

    @cached_property
    def work(self) -> float:
        return sum(stage.epochs * stage.work_of_an_epoch for stage in self.stages)

    def work_done(self, stage: int, epoch: int, step: int) -> float:
        """Work before a position: stages before, whole epochs and steps of the present one."""
        before = sum(plan.epochs * plan.work_of_an_epoch for plan in self.stages[:stage])
        plan = self.stages[stage]
        return before + (epoch + step / plan.steps) * plan.work_of_an_epoch

    @cached_property
    def seed(self) -> int:
        return self.experiment.seed * 1009 + self.fold

    @cached_property
    def bound(self) -> dict[str, str]:
        """Hashes of the data and the folds; a checkpoint made from others cannot be resumed."""
        pairs = "\n".join(f"{name},{fold}" for name, fold in zip(self.images.ids, self.folds))
        folds = hashlib.sha256(pairs.encode()).hexdigest()
        return {**self.images.fingerprints(self.experiment.input.channels), "folds": folds}

    def changed(self, recorded: Mapping[str, Any]) -> list[str]:
        """What of ``bound`` is not as ``recorded`` by a fold, see :func:`changed_parts`."""
        return changed_parts(recorded, self.bound)


def changed_parts(recorded: Mapping[str, Any], bound: Mapping[str, str]) -> list[str]:
    """Names of the parts of ``bound`` (data, tables, folds) that a fold recorded otherwise.

    Folds of versions that knew nothing of tables are taken to have seen the present ones.

    Args:
        recorded: a checkpoint's ``bound``, or :func:`recorded_parts` of a ``done.json``.
    """
    return [
        name for name, digest in bound.items() if recorded.get(name, digest if name == "tables" else None) != digest
    ]


def recorded_parts(done: Mapping[str, Any]) -> dict[str, Any]:
    """The hashes that ``done.json`` holds, under their names in ``FoldJob.bound``."""
    return {name.removesuffix("_hash"): value for name, value in done.items() if name.endswith("_hash")}
