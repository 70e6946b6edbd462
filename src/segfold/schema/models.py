"""Models of settings, made from the signatures of builders."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from segfold.errors import SegfoldError

Family = Mapping[str, Callable[..., Any]]
Check = Callable[[str, Mapping[str, Any]], object]
"""A builder's name and its settings; raises SegfoldError where they do not go together."""
Weight = Annotated[float, Ge(0), Le(1e6)]


class Settings(BaseModel):
    """Base of every settings model: unknown keys are errors, numbers are finite, values do not change after checking."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, str_max_length=4096
    )

    builder: ClassVar[Callable[..., Any] | None] = None
    """Whose signature the model was made from; None for a class that lists its settings itself."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        parts = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(part, bool) for part in parts) and _is_number(
            cls.model_fields[info.field_name or ""].annotation
        ):
            raise ValueError("expected a number")  # true would be taken for 1
        return value


def _is_number(annotation: Any) -> bool:
    """Whether an annotation takes numbers, of whatever form, and no truth."""
    forms = set(_forms(annotation))
    return bool(forms & {int, float}) and bool not in forms


def _forms(annotation: Any) -> Iterator[Any]:
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from map(type, parts)
    elif parts:
        for part in parts[:1] if get_origin(annotation) is Annotated else parts:
            yield from _forms(part)
    else:
        yield annotation


def settings_model(
    title: str,
    builder: Callable[..., Any],
    skip: tuple[str, ...] = (),
    extra: Mapping[str, Any] | None = None,
) -> type[Settings]:
    """Settings model of ``builder``: one field a keyword-only argument, with its type and default.

    Args:
        title: name of the new class, for messages.
        builder: class or function whose keyword-only arguments are the settings.
        skip: arguments that come from the data rather than from the settings.
        extra: further fields as pydantic's ``create_model`` takes them.
    """
    function = builder.__init__ if inspect.isclass(builder) else builder
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = dict(extra or {})
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or parameter.name in skip:
            continue
        if parameter.default is inspect.Parameter.empty:
            raise TypeError(f"{title}: setting {parameter.name} needs a default")
        fields[parameter.name] = (_field_type(f"{title}.{parameter.name}", hints[parameter.name]), parameter.default)
    model = create_model(title, __base__=Settings, **fields)
    model.builder = builder
    return model


def _field_type(title: str, hint: Any) -> Any:
    """The annotation itself, or the choice of a builder where it names a family."""
    families = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Mapping)]
    return choice(title, families[0]) if families else hint


class _Named(Settings):
    """Builders by name; a name that is not given, or is null, is not used."""

    def items(self) -> list[tuple[str, Settings]]:
        """The used builders in the family's order, each with its checked settings."""
        pairs = ((name, getattr(self, name)) for name in type(self).model_fields)
        return [(name, settings) for name, settings in pairs if settings is not None]


class NamedMap(_Named):
    """Any number of builders of one family."""


class Choice(_Named):
    """Exactly one builder of a family."""

    @property
    def name(self) -> str:
        return self.items()[0][0]

    @property
    def settings(self) -> dict[str, Any]:
        return self.items()[0][1].model_dump()

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> "Choice":
        if len(self.items()) != 1:
            names = ", ".join(type(self).model_fields)
            raise ValueError(f"{len(self.items())} names given where one of {names} is needed")
        return self


def _fill(weighted: bool) -> Callable[..., Any]:
    def fill(value: Any) -> Any:
        if value is True:
            return {}
        if weighted and isinstance(value, int | float) and not isinstance(value, bool):
            return {"weight": value}
        return value

    return fill


def said(function: Callable[[], object]) -> None:
    """Calls what refuses settings that do not go together, in the form in which pydantic passes its words on.

    Raises:
        ValueError: with the words of a SegfoldError.
    """
    try:
        function()
    except SegfoldError as error:
        raise ValueError(str(error)) from None


def _checked_by(check: Check, name: str, extra: Collection[str]) -> Callable[..., Any]:
    def checked(settings: Settings) -> Settings:
        said(partial(check, name, settings.model_dump(exclude=set(extra))))
        return settings

    return checked


def _weight_and_end() -> dict[str, Any]:
    """Fields of a builder whose result enters a sum."""
    return {
        "weight": (Weight, Field(1.0, description="Factor in the sum when the stage begins; 0 leaves it out.")),
        "end": (
            Weight | None,
            Field(
                None,
                description="Factor in the sum when the stage ends, reached in a straight line; null keeps ``weight``.",
            ),
        ),
    }


def _family_model(
    name: str, family: Family, base: type[_Named], skip: tuple[str, ...], weighted: bool, check: Check | None
) -> type[Any]:
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = _weight_and_end() if weighted else {}
    for key, builder in family.items():
        model = settings_model(f"{name}.{key}", builder, skip, extra)
        validators = {"_short_forms": model_validator(mode="before")(_fill(weighted))}
        if check is not None:
            validators["_together"] = model_validator(mode="after")(_checked_by(check, key, extra))
        checked = create_model(f"{name}.{key}", __base__=model, __validators__=validators)  # type: ignore[arg-type]
        fields[key] = (checked | None, Field(default=None))
    return create_model(name, __base__=base, **fields)


def named_map(
    name: str, family: Family, skip: tuple[str, ...] = (), weighted: bool = False, check: Check | None = None
) -> type[Any]:
    """Model of a mapping of builders; ``check`` sees the settings of each.

    With ``weighted``, each has a ``weight`` and may have an ``end``, the weight that it moves to; a plain number
    stands for ``{weight: number}``.
    """
    return _family_model(name, family, NamedMap, skip, weighted, check)


def choice(name: str, family: Family, skip: tuple[str, ...] = (), check: Check | None = None) -> type[Any]:
    """Model of a choice of one builder; a plain name stands for the name with its defaults. ``check`` as above."""
    return _family_model(name, family, Choice, skip, False, check)
