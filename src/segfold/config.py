"""The experiment: typed settings, read from one YAML file and dotted overrides, and written back whole."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from segfold.data.augment import AUGMENTATIONS
from segfold.data.tta import TRANSFORMS
from segfold.errors import SegfoldError
from segfold.losses import LOSSES
from segfold.models import MODELS
from segfold.optim import OPTIMIZERS, SCHEDULES
from segfold.schema import Choice, NamedMap, Settings, choice, explain, named_map, settings_model

if TYPE_CHECKING:
    MaskLosses: TypeAlias = NamedMap
    Augmentations: TypeAlias = NamedMap
    ScheduleChoice: TypeAlias = Choice
    OptimizerChoice: TypeAlias = Choice
else:
    MaskLosses = named_map("mask", LOSSES, weighted=True)
    Augmentations = named_map("augment", AUGMENTATIONS)
    ScheduleChoice = choice("schedule", SCHEDULES)
    OptimizerChoice = choice("optimizer", OPTIMIZERS)


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

    size: int | tuple[int, int] = 128
    fit: Literal["pad", "resize"] = "pad"
    border: Literal["reflect", "edge", "zero"] = "reflect"
    random_offset: bool = True
    channels: tuple[str, ...] = ("image",)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


class HeadLoss(Settings):
    """An extra pixel head's share of the loss, and the images that it is trained on (A 3.12)."""

    weight: float
    over: Literal["nonempty", "all", "zeroed"] = "nonempty"

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"weight": value} if isinstance(value, int | float) else value


class Loss(Settings):
    """A stage's loss: ``mask`` on the main logits, the same form on extra heads, BCE on the image head."""

    mask: MaskLosses
    levels: HeadLoss | None = None
    nonempty: HeadLoss | None = None
    image: float = 0.0
    unpadded: bool = True

    @field_validator("mask")
    @classmethod
    def _some(cls, mask: Any) -> Any:
        if not mask.items():
            raise ValueError(f"no loss is named; name at least one of {', '.join(LOSSES)}")
        return mask


class Stage(Settings):
    """A part of the training with its own loss, learning rate and schedule."""

    epochs: int = Field(ge=0)
    loss: Loss
    lr: float = Field(default=1e-3, gt=0)
    schedule: ScheduleChoice = Field(default="cosine", validate_default=True)
    size: int | tuple[int, int] | None = None


class Ema(Settings):
    """Exponential moving average of the weights; the first steps use a shorter memory."""

    decay: float = Field(default=0.999, ge=0, lt=1)


class Validation(Settings):
    """How often the validation fold is predicted during training; the last epoch always is."""

    every: int = Field(default=1, ge=1)


class Folds(Settings):
    """The fold file: ``k`` folds made with ``seed``, at ``folds/<competition>-<k>.csv`` unless named."""

    k: int = Field(default=5, ge=2)
    seed: int = 0
    file: str | None = None


class Predict(Settings):
    """How a trained fold predicts."""

    tta: tuple[str, ...] = ("identity", "hflip")
    batch_size: int = Field(default=64, ge=1)

    @field_validator("tta")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in TRANSFORMS]
        if unknown or not names:
            raise ValueError(f"found {list(names)}, expected some of {', '.join(TRANSFORMS)}")
        return names


class Machine(Settings):
    """What concerns this machine only and may differ when a run goes on elsewhere."""

    device: str = "auto"
    workers: int | Literal["auto"] = "auto"
    threads: int | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    progress: bool | Literal["auto"] = "auto"


class Experiment(Settings):
    """Everything that decides what a run's weights and predictions are."""

    competition: str
    seed: int = 0
    fast: bool = False
    folds: Folds = Folds()
    input: Input = Input()
    model: ModelChoice = Field(default_factory=dict, validate_default=True)
    augment: Augmentations = Field(default_factory=dict, validate_default=True)
    batch_size: int = Field(default=32, ge=2)
    optimizer: OptimizerChoice = Field(default="adamw", validate_default=True)
    clip: float | None = Field(default=None, gt=0)
    ema: Ema | None = Ema()
    stages: dict[str, Stage] = Field(min_length=1)
    validate_: Validation = Field(default=Validation(), alias="validate")
    predict: Predict = Predict()
    machine: Machine = Machine()
    minutes: float | None = Field(default=None, gt=0)


NOT_IDENTITY = ("validate", "predict", "machine", "minutes")
"""Top-level keys that do not change the weights."""

_CHOICES = ("schedule", "optimizer")


def merge(base: Any, over: Any, key: str = "") -> Any:
    """``over`` laid on ``base``: mappings merge by key, anything else replaces; another choice replaces whole."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    if key in _CHOICES and set(over) - set(base):
        return over
    return {**base, **{name: merge(base.get(name), value, name) for name, value in over.items()}}


def read_yaml(path: Path) -> dict[str, Any]:
    """Mapping in a YAML file; ``1e-3`` is a number, ``${…}`` is refused because it can read the environment."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SegfoldError(f"{path}: {error.strerror or error}; name an existing YAML file") from None
    return _parse(text, str(path))


def _parse(text: str, source: str) -> dict[str, Any]:
    if re.search(r"\$\{", text):
        raise SegfoldError(f"{source}: found ${{…}}; interpolation is not supported, write the value out")
    try:
        values = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise SegfoldError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise SegfoldError(f"{source}: found {type(values).__name__}, expected a mapping of settings")
    return {str(key): value for key, value in values.items()}


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["model.encoder=resnet50", "seed=1"]`` as one nested mapping; values are YAML."""
    result: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path or any(not part for part in path.split(".")):
            raise SegfoldError(f"override {override!r}: expected key.sub=value, for instance model.encoder=resnet34")
        value: Any = _parse(f"value: {text}", f"override {override}")["value"]
        for part in reversed(path.split(".")):
            value = {part: value}
        result = merge(result, value)
    return result


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Experiment of a YAML file, laid on the file that it ``extends`` (one level), with dotted overrides.

    Raises:
        SegfoldError: the file cannot be read, or a key or value is wrong (the nearest valid one is named).
    """
    values = read_yaml(path)
    if "extends" in values:
        parent = read_yaml(path.parent / str(values.pop("extends")))
        if "extends" in parent:
            raise SegfoldError(f"{path}: extends a file that itself extends another; only one level is read")
        values = merge(parent, values)
    return check_experiment(merge(values, read_overrides(overrides)), str(path))


def check_experiment(values: Mapping[str, Any], source: str) -> Experiment:
    """Experiment of plain values. Raises SegfoldError with one line for all that is wrong."""
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise SegfoldError(f"{source}: " + explain(error, Experiment, tuple(MODELS))) from None


def dump(experiment: Experiment) -> dict[str, Any]:
    """All settings as plain values, defaults included; what is not used is left out."""
    return experiment.model_dump(mode="json", by_alias=True, exclude_none=True)


def dump_yaml(experiment: Experiment) -> str:
    """YAML text of :func:`dump`; loading it gives the same experiment."""
    values = dump(experiment)
    for name in ("clip", "ema"):
        values.setdefault(name, None)
    return OmegaConf.to_yaml(OmegaConf.create(values))


def identity(experiment: Experiment) -> dict[str, Any]:
    """Dotted path → value of every setting that changes the weights."""
    return dict(_flatten({key: value for key, value in dump(experiment).items() if key not in NOT_IDENTITY}))


def differing_keys(old: Experiment, new: Experiment) -> list[str]:
    """Dotted paths at which two experiments would train different weights, sorted."""
    before, after = identity(old), identity(new)
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
