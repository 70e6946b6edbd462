"""The signature of a builder is its schema: pydantic models made from keyword-only arguments.

An argument's range stands in its annotation, ``Annotated[float, Ge(0), Le(1)]``, and what it does in the docstring.

A family is a dict of builders by name (losses, schedules, augmentations, …). In YAML a family appears
either as a *mapping* (several builders, each with its settings: ``{bce: 1, dice: {weight: 1, mode: batch}}``)
or as a *choice* (exactly one: ``onecycle`` or ``{cosine: {end: 0.1}}``). An argument annotated with a family,
``part: Annotated[…, PARTS] = "name"``, is a choice within its builder's settings.
"""

from segfold.schema.build import build
from segfold.schema.models import (
    Choice,
    NamedMap,
    Settings,
    Weight,
    choice,
    named_map,
    said,
    settings_model,
)
from segfold.schema.places import descend, is_choice, member
from segfold.schema.problems import problems

__all__ = [
    "Choice",
    "NamedMap",
    "Settings",
    "Weight",
    "build",
    "choice",
    "descend",
    "is_choice",
    "member",
    "named_map",
    "problems",
    "said",
    "settings_model",
]
