"""What one fold's training is made from; nothing in it changes while it trains."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from segfold.competition import Competition
from segfold.data.boxes import TrainingBoxes
from segfold.data.images import ImageSet
from segfold.data.places import ClassPlaces
from segfold.data.sampling import draws, row_chances
from segfold.errors import SegfoldError
from segfold.inference.networks import build_network, image_channels
from segfold.losses import StageLoss
from segfold.optim import Schedule, build_schedule, with_warmup
from segfold.runs.folder import FoldFolder
from segfold.runs.identity import changed_inputs
from segfold.settings import Experiment, Stage
from segfold.settings.views import sizing_of
from segfold.tasks import Task
from segfold.training.boxes import BoxSource
from segfold.training.crops import crops_of

FAST_IMAGES = 64
"""Images of each part, and samples of an epoch, of a run of ``fast=true``."""


@dataclass(frozen=True)
class StagePlan:
    """A stage of one fold, with what it takes from the experiment's top level filled in."""

    name: str
    settings: Stage
    warmup: float
    """Share of the stage that the warm-up takes."""
    batch_size: int
    """Images an optimiser step, over all parts and processes."""
    rows: np.ndarray
    """What is drawn from, indices of images: each training image once, as many times as crops cover it, or once a box."""
    chances: np.ndarray
    """How likely each of ``rows`` is drawn; all equal for each once an epoch."""
    images: int
    """Training samples that an epoch draws; the last ones that do not fill a batch are left out."""
    steps: int
    """Optimiser steps an epoch."""
    pixels: int
    """Of the network's input."""
    task: Task
    """The competition's, or where objects are trained on by themselves, with a class for all else."""
    optimizer: tuple[str, dict[str, Any]]
    boxes: TrainingBoxes | None
    """Of ``rows``; None for whole images or crops."""

    @property
    def epochs(self) -> int:
        return self.settings.epochs

    @cached_property
    def loss(self) -> StageLoss:
        """With the weights of the stage's beginning."""
        return self.settings.loss.build(
            classes=self.task.classes, exclusive=self.task.exclusive, background=self.task.background
        )

    @cached_property
    def schedule(self) -> Schedule:
        """The factor on the stage's learning rate, warm-up included."""
        chosen = self.settings.schedule
        return with_warmup(build_schedule(chosen.name, **chosen.settings), self.warmup)

    @property
    def padding_counts(self) -> bool:
        """Whether the loss looks at what was made up around an image; around one that a box reaches beyond it never does."""
        return not self.settings.loss.unpadded and self.task.fill is None and self.settings.boxes is None

    def share_done(self, epoch: int, step: int) -> float:
        """See ``share_done``."""
        return share_done(epoch, self.epochs, self.steps, step)

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
    home: Path = Path()
    """The working folder, to which the paths of settings are relative."""

    def __post_init__(self) -> None:
        count = int(self.folds.max()) + 1
        if not 0 <= self.fold < count:
            raise SegfoldError(f"fold {self.fold} is out of range: the fold file has folds 0 to {count - 1}")
        if len(self.training_rows) < 2:
            raise SegfoldError(f"fold {self.fold}: {len(self.training_rows)} images to train on; at least 2 are needed")

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.competition.classes)

    @cached_property
    def channels(self) -> int:
        """Of the images."""
        return image_channels(self.images)

    def network(self, fresh: bool = True) -> nn.Module:
        """A network of the experiment on the CPU, see ``segfold.inference.networks.build_network``."""
        return build_network(self.experiment, self.channels, self.competition.task, fresh)

    @cached_property
    def stages(self) -> list[StagePlan]:
        return [self._plan(name, stage) for name, stage in self.experiment.stages.items()]

    def _plan(self, name: str, stage: Stage) -> StagePlan:
        experiment = self.experiment
        warmup = stage.warmup / max(stage.epochs, 1)
        if experiment.fast:
            stage = stage.model_copy(update={"epochs": min(stage.epochs, 1)})
        sample = stage.sample or experiment.sample
        task = self.competition.task
        rows, crops, boxes = self.training_rows, crops_of(experiment, stage, task), self.boxes.of(name, stage)
        if boxes is not None:
            rows = boxes.images
        elif crops is not None:
            rows = np.repeat(rows, crops.needed(self.images.images.shapes[rows]))
        chances = np.zeros(0)
        if len(rows):
            chances = row_chances(
                self.images.coverage[rows],
                self.images.constant[rows],
                nonempty=sample.nonempty,
                area=sample.area,
                skip_constant=sample.skip_constant,
            )
        drawn = draws(chances)
        if boxes is not None and stage.boxes is not None:
            rows, drawn = boxes.rows, len(boxes.boxed.rows)
            chances = boxes.chances(stage.boxes.balance, stage.boxes.whole, chances)
        drawn = sample.images or drawn
        if experiment.fast:
            drawn = min(drawn, FAST_IMAGES)
        batch_size = min(stage.batch_size or experiment.batch_size, drawn)
        sizing = sizing_of(experiment, stage)
        optimizer = stage.optimizer or experiment.optimizer
        return StagePlan(
            name=name,
            settings=stage,
            warmup=warmup,
            batch_size=batch_size,
            rows=rows,
            chances=chances,
            images=drawn,
            steps=drawn // batch_size,
            pixels=sizing.height * sizing.width,
            task=task.with_other() if stage.isolates_objects else task,
            optimizer=(optimizer.name, optimizer.settings),
            boxes=boxes,
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
    def boxes(self) -> BoxSource:
        """The boxes of the training images."""
        return BoxSource(self.experiment, self.images, self.training_rows)

    @cached_property
    def places(self) -> ClassPlaces:
        """Where the classes of the training images lie; counted when crops are first to be placed by them."""
        assert self.images.masks is not None
        return ClassPlaces(self.images.masks, self.training_rows, self.images.task)

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
        """What of ``bound`` is not as ``recorded`` by a fold, see ``segfold.runs.identity.changed_inputs``."""
        return changed_inputs(recorded, self.bound)


def share_done(epoch: int, epochs: int, steps: int, step: int) -> float:
    """Share of a stage of so many epochs of so many steps before a step of an epoch: 0 at its first one, 1 at its last."""
    return (epoch * steps + step) / max(epochs * steps - 1, 1)
