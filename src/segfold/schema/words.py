"""What a setting may be, in words."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, StringConstraints
from pydantic_core import PydanticUndefined

from segfold.ranges import Form
from segfold.schema.models import Choice, NamedMap
from segfold.schema.places import fields, forms, free_keys


def in_words(annotation: Any) -> str:
    """The values that an annotation allows: ``whole number 1 … 16``, ``one or two``, ``list of text``."""
    found: list[str] = []
    for words in _alternatives(annotation):
        # A list of what may also stand alone need not say it again.
        short = next(
            (words.replace(f": {other}", " of them") for other in found if words.endswith(f": {other}")), words
        )
        if short not in found:
            found.append(short)
    if "null" in found:
        found = [words for words in found if words != "null"] + ["null"]
    return " or ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def value_in_words(value: Any) -> str:
    """A default as it stands in YAML; nothing for what has none."""
    match value:
        case _ if value is PydanticUndefined:
            return ""
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Choice():
            return value.name
        case list() | tuple():
            return f"[{', '.join(map(value_in_words, value))}]"
        case dict():
            return "{" + ", ".join(f"{key}: {value_in_words(part)}" for key, part in value.items()) + "}"
        case _ if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
            return "{}"
        case _:
            return str(value)


def _alternatives(annotation: Any) -> Iterator[str]:
    names = []
    for form, beside in forms(annotation):
        if form is type(None):
            yield "null"
        elif form is bool:
            yield from ("true", "false")
        elif get_origin(form) is Literal:
            yield from map(str, get_args(form))
        elif form in (int, float):
            yield f"{'whole ' * (form is int)}number{_bounds(beside)}"
        elif form is str:
            yield _text(beside)
        elif get_origin(form) is tuple:
            yield _list(get_args(form), beside)
        elif free_keys(form):
            value = get_args(form)[1]
            kind = "settings" if any(fields(part) for part, _ in forms(value)) else in_words(value)
            yield f"mapping of names to {kind}"
        elif isinstance(form, type) and issubclass(form, Choice):
            yield f"one of {', '.join(fields(form))}"
        elif isinstance(form, type) and issubclass(form, NamedMap):
            yield f"any of {', '.join(fields(form))}"
        elif fields(form) or isinstance(form, type):
            names.append(form)
    if names:
        yield "settings"


def _bounds(beside: tuple[Any, ...]) -> str:
    low = high = ""
    for part in beside:
        match part:
            case Ge(ge=bound):
                low = f"{_number(bound)}"
            case Gt(gt=bound):
                low = f"above {_number(bound)}"
            case Le(le=bound):
                high = f"{_number(bound)}"
            case Lt(lt=bound):
                high = f"below {_number(bound)}"
    return f" {low} … {high}" if low and high else ""


def _number(bound: Any) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:g}"


def _text(beside: tuple[Any, ...]) -> str:
    for part in beside:
        if isinstance(part, Form):
            return part.words
    for part in beside:
        if isinstance(part, StringConstraints) and part.pattern is not None:
            return f"text like {part.pattern}"
    return "text"


def _list(parts: tuple[Any, ...], beside: tuple[Any, ...]) -> str:
    if parts[-1] is not Ellipsis:
        return f"list of {len(parts)}: {in_words(parts[0])}"
    least = next((part.min_length for part in beside if isinstance(part, MinLen)), 0)
    most = next((part.max_length for part in beside if isinstance(part, MaxLen)), None)
    count = f"{least} or more" if most is None else f"{least} to {most}" if least else f"up to {most}"
    return f"list of {count}: {in_words(parts[0])}" if least or most else f"list: {in_words(parts[0])}"
