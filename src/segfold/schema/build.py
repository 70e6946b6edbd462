"""Building by name, with settings that no model of an experiment has checked."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError

from segfold.errors import SegfoldError
from segfold.schema.models import Settings, settings_model
from segfold.schema.problems import problems

Built = TypeVar("Built")


def build(title: str, builder: Callable[..., Built], settings: Mapping[str, Any], *given: Any, **extra: Any) -> Built:
    """What a builder makes of settings, which are first checked against its signature.

    Args:
        title: dotted path of the settings, for messages.
        builder: class or function whose keyword-only arguments are the settings.
        settings: those that are not to have their defaults.
        given: positional arguments, passed on.
        extra: keyword arguments that are no settings, passed on.

    Raises:
        SegfoldError: an unknown setting, or a value that its annotation does not allow.
    """
    model = _model(title, builder, tuple(extra))
    try:
        checked = model.model_validate(dict(settings))
    except ValidationError as error:
        raise SegfoldError(problems(error, model, at=title)) from None
    return builder(*given, **extra, **checked.model_dump(exclude_unset=True))


@cache
def _model(title: str, builder: Callable[..., Any], skip: tuple[str, ...]) -> type[Settings]:
    return settings_model(title, builder, skip)
