"""The settings of an experiment: what a config file may say, with types and defaults."""

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from segfold.data.augment import AUGMENTATIONS
from segfold.data.augment.mixing import MIXES
from segfold.data.channels import CHANNELS
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.loss_settings import LossTerms
from segfold.models import MODELS
from segfold.optim import OPTIMIZERS, SCHEDULES, build_schedule, check_settings, cycle_count, needs_scores
from segfold.ranges import MOST, Batch, Count, Epochs, PathText, Seed, Share, Size, StageName
from segfold.schema import Choice, NamedMap, Settings, choice, named_map, said, settings_model

_WEIGHTS = re.compile(r"model|best|swa|snapshots|snapshot[1-9][0-9]{0,5}")

if TYPE_CHECKING:
    Augmentations: TypeAlias = NamedMap
    ScheduleChoice: TypeAlias = Choice
    OptimizerChoice: TypeAlias = Choice
else:
    Augmentations = named_map("augment", {**AUGMENTATIONS, **MIXES})
    ScheduleChoice = choice("schedule", SCHEDULES, check=lambda name, settings: build_schedule(name, **settings))
    OptimizerChoice = choice("optimizer", OPTIMIZERS, check=check_settings)


def _model_choice() -> Any:
    """Union of the models' settings, told apart by ``name``; ``in_channels`` and ``classes`` come from the data."""
    variants = [
        Annotated[
            settings_model(f"model.{name}", builder, ("in_channels", "classes"), {"name": (Literal[name], name)}),
            Tag(name),
        ]
        for name, builder in MODELS.items()
    ]
    union = Union[tuple(variants)] if len(variants) > 1 else Union[(*variants, Annotated[None, Tag("")])]  # noqa: UP007

    def name_of(value: Any) -> str:
        name = value.get("name", "unet") if isinstance(value, Mapping) else getattr(value, "name", "")
        return str(name)

    return Annotated[union, Discriminator(name_of)]


if TYPE_CHECKING:
    ModelChoice: TypeAlias = Any
else:
    ModelChoice = _model_choice()


class Input(Settings):
    """From an image of any size to the network's input."""

    size: Size = 128
    resize: Size | None = None
    fit: Literal["pad", "resize"] = "pad"
    border: Literal["reflect", "edge", "zero"] = "reflect"
    random_offset: bool = True
    channels: Annotated[tuple[str, ...], MaxLen(16)] = ("image",)

    @field_validator("channels")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or set(names) - set(CHANNELS):
            raise ValueError(f"expected some of {', '.join(CHANNELS)}")
        return names

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def sizing(self, size: Size | None = None) -> Sizing:
        """To this size, or to another.

        Raises:
            SegfoldError: ``resize`` does not fit into it.
        """
        settings = self if size is None else self.model_copy(update={"size": size})
        resize = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
        return Sizing(*settings.shape, self.fit, self.border, resize)


class Sampling(Settings):
    """Which images an epoch draws: by default each one once.

    ``nonempty`` is the share of drawn images that have foreground, ``area`` the power of the covered share that a
    non-empty image is drawn in proportion to, ``skip_constant`` leaves out images of a single value (in training only).
    ``images`` is the length of an epoch, if it is not to be the number of images.
    """

    nonempty: Share | None = None
    area: Annotated[float, Ge(-10), Le(10)] = 0.0
    skip_constant: bool = False
    images: Annotated[int, Ge(2), Le(10_000_000)] | None = None


class Stage(Settings):
    """A part of the training with its own loss, learning rate and schedule.

    ``warmup`` epochs rise linearly to ``lr`` before the schedule begins; ``freeze_encoder`` counts epochs in which
    only the rest of the network learns; ``early_stop`` ends the stage after so many validations without a new best;
    ``snapshots`` keeps the weights at the end of each of the schedule's cycles. What is given below that stands at
    the experiment's top level too replaces it for this stage.
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
    batch_size: Batch | None = None
    augment: Augmentations | None = None
    sample: Sampling | None = None
    optimizer: OptimizerChoice | None = None

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


class Ema(Settings):
    """Exponential moving average of the weights; the first steps use a shorter memory."""

    decay: Annotated[float, Ge(0), Lt(1)] = 0.999


class Swa(Settings):
    """Stochastic weight averaging: the mean of the weights after every ``every`` epochs of the last stage's end.

    It begins after the share ``start`` of that stage; batch-norm statistics are estimated anew for the mean.
    """

    start: Annotated[float, Ge(0), Lt(1)] = 0.75
    every: Count = 1


class Validation(Settings):
    """How often the validation fold is predicted during training; the last epoch always is."""

    every: Count = 1


class Folds(Settings):
    """The fold file: ``k`` folds made with ``seed``, at ``folds/<competition>-<k>.csv`` unless named."""

    k: Annotated[int, Ge(2), Le(1000)] = 5
    seed: Seed = 0
    file: PathText | None = None


class Predict(Settings):
    """How a trained fold predicts."""

    weights: tuple[str, ...] = ("model",)
    tta: tuple[str, ...] = ("identity", "hflip")
    batch_size: Count = 64

    @model_validator(mode="before")
    @classmethod
    def _without_gate(cls, values: Any) -> Any:
        """Configs of before recipes say ``gate``: 0 is dropped, and what else they say is refused."""
        if not isinstance(values, Mapping) or "gate" not in values:
            return values
        if values["gate"] not in (0, None):
            raise ValueError(
                "predict.gate is chosen by submit now, among the post steps; take it out, "
                f"or fix it with submit.py --gate {values['gate']}"
            )
        return {name: value for name, value in values.items() if name != "gate"}

    @field_validator("weights")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in names if not _WEIGHTS.fullmatch(name)]
        if wrong or not names:
            raise ValueError("expected some of model, best, swa, snapshots, snapshot1, snapshot2, …")
        return names

    @field_validator("tta")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in TRANSFORMS]
        if unknown or not names:
            raise ValueError(f"expected some of {', '.join(TRANSFORMS)}")
        if len(set(names)) < len(names):
            raise ValueError("expected each transform once")
        return names


class Machine(Settings):
    """What concerns this machine only and may differ when a run goes on elsewhere."""

    device: str = "auto"
    workers: Annotated[int, Ge(0), Le(1024)] | Literal["auto"] = "auto"
    threads: Annotated[int, Ge(1), Le(4096)] | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    progress: bool | Literal["auto"] = "auto"


class Experiment(Settings):
    """Everything that decides what a run's weights and predictions are."""

    competition: PathText
    seed: Seed = 0
    fast: bool = False
    folds: Folds = Folds()
    input: Input = Input()
    model: ModelChoice = Field(default_factory=dict, validate_default=True)
    init: PathText | None = None
    augment: Augmentations = Field(default_factory=dict, validate_default=True)
    sample: Sampling = Sampling()
    batch_size: Batch = 32
    accumulate: Count = 1
    optimizer: OptimizerChoice = Field(default="adamw", validate_default=True)
    encoder_lr: Annotated[float, Ge(0), Le(1000)] = 1.0
    decay_norms: bool = True
    clip: Annotated[float, Gt(0), Le(1e9)] | None = None
    ema: Ema | None = Ema()
    swa: Swa | None = None
    best: Epochs = 0
    stages: dict[StageName, Stage] = Field(min_length=1)
    validate_: Validation = Field(default=Validation(), alias="validate")
    predict: Predict = Predict()
    machine: Machine = Machine()
    minutes: Annotated[float, Gt(0), Le(10_000_000)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        made = {"model"} | ({"best"} if self.best else set()) | ({"swa"} if self.swa else set())
        if any(stage.snapshots for stage in self.stages.values()):
            made.add("snapshots")
        for name in self.predict.weights:
            if re.sub(r"\d+$", "s", name) not in made:
                hint = {"best": "set best=1 or more", "swa": "set swa={}"}.get(name, "set snapshots in a stage")
                raise ValueError(f"predict.weights names {name}, which this training does not make; {hint}")
        for name, stage in self.stages.items():
            said(partial(self.input.sizing, stage.size))
            size = stage.batch_size or self.batch_size
            if self.accumulate > size // 2:
                raise ValueError(
                    f"accumulate {self.accumulate} splits stage {name}'s batch of {size} into parts of fewer than 2 images"
                )
        return self

    @property
    def watches_scores(self) -> bool:
        """Whether validation scores steer the training, so that how often they are taken changes the weights."""
        return self.best > 0 or any(
            stage.early_stop is not None or needs_scores(stage.schedule.name) for stage in self.stages.values()
        )
