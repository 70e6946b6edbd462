"""The stages of a training, and what is kept of its weights."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, model_validator

from segfold.optim import cycle_count
from segfold.ranges import MOST, Batch, Count, Epochs, Size
from segfold.schema import Settings
from segfold.settings.boxes import Boxes
from segfold.settings.data import Sampling, with_size_of_crop
from segfold.settings.families import Augmentations, OptimizerChoice, ScheduleChoice
from segfold.settings.loss import LossTerms


class Stage(Settings):
    """A part of the training with its own loss, learning rate and schedule.

    Attributes:
        epochs: how many epochs the stage lasts; 0 leaves it out.
        loss: what the stage minimises.
        lr: learning rate where the schedule's factor is 1.
        schedule: how the learning rate moves over the stage.
        warmup: epochs of a linear rise to ``lr`` before the schedule begins.
        freeze_encoder: epochs at the stage's beginning in which only the rest of the network learns.
        early_stop: validations without a new best score after which the stage ends; null: never.
        snapshots: keeps the weights at the end of each of the schedule's cycles.
        size: ``input.size`` for this stage; null: as there, or where the stage has a ``crop`` of its own, as that.
        crop: ``input.crop`` for this stage; null: as there.
        boxes: what the stage trains on in place of whole images or crops; null: these.
        batch_size: ``batch_size`` for this stage; null: as there.
        augment: ``augment`` for this stage; null: as there.
        sample: ``sample`` for this stage; null: as there.
        optimizer: ``optimizer`` for this stage; null: as there.
    """

    epochs: Epochs
    loss: LossTerms
    lr: Annotated[float, Gt(0), Le(1000)] = 1e-3
    schedule: ScheduleChoice = Field(default="cosine", validate_default=True)
    warmup: Annotated[float, Ge(0), Le(MOST)] = 0.0
    freeze_encoder: Epochs = 0
    early_stop: Count | None = None
    snapshots: bool = False
    size: Size | None = None
    crop: Size | None = None
    boxes: Boxes | None = None
    batch_size: Batch | None = None
    augment: Augmentations | None = None
    sample: Sampling | None = None
    optimizer: OptimizerChoice | None = None

    @model_validator(mode="before")
    @classmethod
    def _size_of_crop(cls, values: Any) -> Any:
        return with_size_of_crop(values)

    @model_validator(mode="after")
    def _crop_or_boxes(self) -> "Stage":
        if self.crop is not None and self.boxes is not None:
            raise ValueError("found crop and boxes: a stage trains on the one or the other; leave out crop or boxes")
        return self

    @model_validator(mode="after")
    def _whole_cycles(self) -> "Stage":
        cycles = cycle_count(self.schedule.name, self.schedule.settings)
        if self.warmup >= max(self.epochs, 1):
            raise ValueError(f"a warm-up of {self.warmup:g} epochs leaves nothing of {self.epochs} for the schedule")
        if self.snapshots and (self.epochs - self.warmup) % cycles:
            raise ValueError(
                f"{self.epochs - self.warmup:g} epochs are not {cycles} whole cycles; snapshots are taken at their ends"
            )
        return self

    @property
    def isolates_objects(self) -> bool:
        """Whether it trains on objects by themselves, all else taken for background."""
        return self.boxes is not None and self.boxes.of == "objects"


class Ema(Settings):
    """Exponential moving average of the weights; the first steps use a shorter memory.

    Attributes:
        decay: share of the average that a step keeps.
    """

    decay: Annotated[float, Ge(0), Lt(1)] = 0.999


class Swa(Settings):
    """Stochastic weight averaging: the mean of the weights after every ``every`` epochs of the last stage's end.

    Batch-norm statistics are estimated anew for the mean.

    Attributes:
        start: share of the last stage after which the averaging begins.
        every: epochs from one set of weights to the next.
    """

    start: Annotated[float, Ge(0), Lt(1)] = 0.75
    every: Count = 1


class Validation(Settings):
    """How often the validation fold is predicted during training; the last epoch always is.

    Attributes:
        every: epochs from one validation to the next.
    """

    every: Count = 1
