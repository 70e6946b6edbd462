"""What settings choose from: the augmentations, schedules, optimisers and models, each with the settings of its signature."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import Discriminator, Field, Tag

from segfold.data.augment import AUGMENTATIONS
from segfold.data.augment.mixing import MIXES
from segfold.models import MODELS
from segfold.optim import OPTIMIZERS, SCHEDULES, build_schedule, check_settings
from segfold.schema import Choice, NamedMap, choice, named_map, settings_model

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
