"""The settings of an experiment: what a config file may say, with types and defaults."""

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import Discriminator, Field, StringConstraints, Tag, field_validator, model_validator

from segfold.data.augment import AUGMENTATIONS
from segfold.data.augment.mixing import MIXES
from segfold.data.channels import Channel
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.loss_settings import LossTerms
from segfold.models import MODELS
from segfold.optim import OPTIMIZERS, SCHEDULES, build_schedule, check_settings, cycle_count, needs_scores
from segfold.ranges import MOST, Batch, Count, Epochs, Form, PathText, Seed, Share, Size, StageName
from segfold.schema import Choice, NamedMap, Settings, choice, named_map, said, settings_model

WeightsName = Annotated[
    str,
    StringConstraints(pattern=r"^(model|best|swa|snapshots|snapshot[1-9][0-9]{0,5})$"),
    Form("model, best, swa, snapshots, snapshot1, snapshot2, …"),
]
DeviceName = Annotated[  # on torch's "meta" a network would train without numbers
    str,
    StringConstraints(pattern=r"^(auto|(cpu|cuda|mps|xpu)(:[0-9]{1,2})?)$"),
    Form("auto, cpu, cuda, cuda:N, mps or xpu"),
]

if TYPE_CHECKING:
    Augmentations: TypeAlias = NamedMap
    ScheduleChoice: TypeAlias = Choice
    OptimizerChoice: TypeAlias = Choice
    SymmetryName: TypeAlias = str
else:
    SymmetryName = Literal[tuple(TRANSFORMS)]
    Augmentations = named_map("augment", {**AUGMENTATIONS, **MIXES})
    ScheduleChoice = choice("schedule", SCHEDULES, check=lambda name, settings: build_schedule(name, **settings))
    OptimizerChoice = choice("optimizer", OPTIMIZERS, check=check_settings)


def _model_choice() -> Any:
    """Union of the models' settings, told apart by ``name``; ``in_channels`` and ``classes`` come from the data."""
    variants = [
        Annotated[
            settings_model(
                f"model.{name}",
                builder,
                ("in_channels", "classes"),
                {"name": (Literal[name], Field(name, description="Which model this is."))},
            ),
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
    """From an image of any size to the network's input.

    Attributes:
        size: height and width of the network's input in pixels, or one number for both.
        resize: size that an image is brought to inside the input; null: its own, or as ``fit`` says.
        fit: how an image comes to the input's size: ``pad`` puts borders around it, ``resize`` stretches it.
        border: what stands in the borders: the image reflected, its edge repeated, or zeros.
        random_offset: the image lies anywhere within the borders in training, and in the middle in prediction.
        channels: what the network sees of an image, in this order. ``image`` is its own channels, ``y`` the height in
            the image, ``image_y`` their product, ``depth`` one number an image from the competition's table.
    """

    size: Size = 128
    resize: Size | None = None
    fit: Literal["pad", "resize"] = "pad"
    border: Literal["reflect", "edge", "zero"] = "reflect"
    random_offset: bool = True
    channels: Annotated[tuple[Channel, ...], MinLen(1), MaxLen(16)] = ("image",)

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

    Attributes:
        nonempty: share of drawn images that have foreground; null: as in the data.
        area: power of the covered share that a non-empty image is drawn in proportion to; 0: all alike.
        skip_constant: leaves out images of a single value, in training only.
        images: how many images an epoch draws; null: as many as there are.
    """

    nonempty: Share | None = None
    area: Annotated[float, Ge(-10), Le(10)] = 0.0
    skip_constant: bool = False
    images: Annotated[int, Ge(2), Le(10_000_000)] | None = None


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
        size: ``input.size`` for this stage; null: as there.
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


class Folds(Settings):
    """The fold file, at ``folds/<competition>-<k>.csv`` unless named.

    Attributes:
        k: how many folds.
        seed: random seed that the folds are drawn with.
        file: a fold file of one's own, which then says how many folds there are; null: made where it is not there yet.
    """

    k: Annotated[int, Ge(2), Le(1000)] = 5
    seed: Seed = 0
    file: PathText | None = None


class Predict(Settings):
    """How a trained fold predicts.

    Attributes:
        weights: which of the training's weights predict; the mean of several is taken.
        tta: symmetries under which an image is predicted, to take the mean (test-time augmentation).
        batch_size: images at once.
    """

    weights: Annotated[tuple[WeightsName, ...], MinLen(1), MaxLen(1000)] = ("model",)
    tta: Annotated[tuple[SymmetryName, ...], MinLen(1), MaxLen(8)] = ("identity", "hflip")
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

    @field_validator("tta")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("expected each transform once")
        return names


class Machine(Settings):
    """What concerns this machine only and may differ when a run goes on elsewhere.

    Attributes:
        device: what computes; ``auto``: a GPU of CUDA if there is one, else the CPU.
        workers: processes that prepare samples; 0: none beside the training, ``auto``: by the cores.
        threads: threads of the CPU; ``auto``: all cores, or a process's share of them.
        precision: number format of the network's forward pass; ``auto``: the fastest that the device has in hardware.
        compile: whether ``torch.compile`` runs first; ``auto``: where the training is long enough to gain by it.
        progress: whether a line shows progress; ``auto``: on a terminal.
    """

    device: DeviceName = "auto"
    workers: Annotated[int, Ge(0), Le(1024)] | Literal["auto"] = "auto"
    threads: Annotated[int, Ge(1), Le(4096)] | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    progress: bool | Literal["auto"] = "auto"


class Experiment(Settings):
    """Everything that decides what a run's weights and predictions are.

    Attributes:
        competition: name of a competition, ``configs/competitions/NAME.yaml``.
        seed: random seed of the weights, the order of images and the augmentations.
        fast: a trial of the whole road: the first 64 images of each part and one epoch a stage.
        folds: how the images are split.
        input: from an image of any size to the network's input.
        model: the network; ``name`` says which, and the other settings are that model's own.
        init: run folder whose weights of the same fold the training starts from; null: none.
        augment: steps of augmentation by name, applied in the order below; ``true`` takes a step's defaults.
        sample: which images an epoch draws.
        batch_size: images in a step of the optimizer.
        accumulate: parts that a batch is split into, one after the other, to save memory.
        optimizer: what turns gradients into steps.
        encoder_lr: factor on the learning rate of the encoder.
        decay_norms: whether normalisations and biases decay too.
        clip: largest norm of the gradient, beyond which it is scaled down; null: none.
        ema: exponential moving average of the weights, which then predicts; null: the weights themselves.
        swa: mean of the weights over the last stage's end; null: none.
        best: how many epochs with the best scores are kept and averaged; 0: none.
        stages: parts of the training by name, in order.
        validate: how often the validation fold is predicted during training.
        predict: how a trained fold predicts.
        machine: what concerns this machine only.
        minutes: minutes after which the training stops, to go on with the same command; null: no limit.
    """

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
