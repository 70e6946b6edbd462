"""The signature of a builder is its schema: pydantic models made from keyword-only arguments.

An argument's range stands in its annotation: ``Annotated[float, Ge(0), Le(1)]``.

A family is a dict of builders by name (losses, schedules, augmentations, …). In YAML a family appears
either as a *mapping* (several builders, each with its settings: ``{bce: 1, dice: {weight: 1, mode: batch}}``)
or as a *choice* (exactly one: ``onecycle`` or ``{cosine: {end: 0.1}}``). An argument annotated with a family,
``part: Annotated[…, PARTS] = "name"``, is a choice within its builder's settings.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from segfold.errors import SegfoldError, shown

Family = Mapping[str, Callable[..., Any]]
Check = Callable[[str, Mapping[str, Any]], object]
"""A builder's name and its settings; raises SegfoldError where they do not go together."""
Weight = Annotated[float, Ge(0), Le(1e6)]


class Settings(BaseModel):
    """Base of every settings model: unknown keys are errors, numbers are finite, values do not change after checking."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

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
    return create_model(title, __base__=Settings, **fields)


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


def _family_model(
    name: str, family: Family, base: type[_Named], skip: tuple[str, ...], weighted: bool, check: Check | None
) -> type[Any]:
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {"weight": (Weight, 1.0), "end": (Weight | None, None)} if weighted else {}
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


def explain(error: ValidationError, root: type[BaseModel], tags: Sequence[str] = ()) -> str:
    """All that is wrong with some settings in one line; an unknown key or name comes with the nearest valid one.

    Args:
        root: the model that was to be filled.
        tags: names of union members, which pydantic puts into the location but no user has written.
    """
    by_path: dict[str, list[Any]] = {}
    for item in error.errors():
        parts = [str(part) for part in item["loc"] if part not in tags and not _FORM.fullmatch(str(part))]
        by_path.setdefault(".".join(parts), []).append(item)
    # A value of several allowed forms has an error for each; one within it says more than those about the whole.
    paths = [path for path in by_path if not any(other.startswith(f"{path}.") for other in by_path)]
    return "; ".join(_explain(path, by_path[path], root, tags) for path in paths)


_FORM = re.compile(r"(?:constrained-)?(?:int|float|str)|bool|none|\[key\]|(?:literal|tuple|list|dict)\[.*\]")
"""What pydantic calls the allowed forms of a value, in the location of an error."""


def _explain(path: str, items: Sequence[Any], root: type[BaseModel], tags: Sequence[str]) -> str:
    first = items[0]
    match first["type"]:
        case "extra_forbidden":
            return f"unknown key {path}; {_near(path.rpartition('.')[2], _fields_at(root, first['loc'][:-1]))}"
        case "union_tag_invalid":
            return f"unknown {path} {first['ctx']['tag']!r}; {_near(first['ctx']['tag'], tags)}"
        case "missing":
            return f"{path} is missing"
        case _:
            found = first["input"]
            seen = "" if isinstance(found, Mapping | BaseModel) else f", found {shown(found)}"
            said = [item["msg"].removeprefix("Value error, ").partition(", unable to ")[0] for item in items]
            wanted = " or ".join([said[0], *(text.removeprefix("Input should be ") for text in said[1:])])
            wanted = re.sub(r"valid dictionary or instance of \S+", "mapping", wanted).replace("valid tuple", "list")
            return f"{path}: {wanted}{seen}".removeprefix(": ")


def _near(name: str, known: Sequence[str]) -> str:
    if not known:
        return "there are no settings here"
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def _fields_at(model: Any, location: Sequence[Any]) -> list[str]:
    """Names that are valid under a location of the settings."""
    for part in location:
        model = _descend(model, part)
    return [field.alias or name for name, field in getattr(_settings_in(model), "model_fields", {}).items()]


def _settings_in(annotation: Any) -> Any:
    """The settings model in an annotation such as ``X | None`` or ``Annotated[X, …]``."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        found = [_settings_in(part) for part in get_args(annotation)]
        return next((part for part in found if isinstance(part, type) and issubclass(part, BaseModel)), None)
    return annotation


def _descend(annotation: Any, part: Any) -> Any:
    for member in get_args(annotation):
        if Tag(part) in getattr(member, "__metadata__", ()):
            return member
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    fields = getattr(_settings_in(annotation), "model_fields", {})
    return fields[part].annotation if part in fields else None
