"""Finding one's way in the annotations of settings: what stands below a key."""

import dataclasses
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Discriminator, Tag
from pydantic.fields import FieldInfo

from segfold.schema.models import Choice


def forms(annotation: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The types that a value may have, each with what is said beside it: ``Annotated[X, a] | None`` has two."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for form, beside in forms(parts[0]):
            yield form, (*beside, *parts[1:])
    elif origin in (Union, UnionType):
        for part in parts:
            yield from forms(part)
    else:
        yield annotation, ()


def free_keys(form: Any) -> bool:
    """Whether a type is a mapping whose keys the user names."""
    origin = get_origin(form)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def fields(form: Any) -> dict[str, tuple[Any, FieldInfo]]:
    """Keys of a settings model or dataclass, each with its whole annotation and pydantic's field; else nothing."""
    if isinstance(form, type) and issubclass(form, BaseModel):
        return {
            field.alias or name: (
                Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation,
                field,
            )
            for name, field in form.model_fields.items()
        }
    if isinstance(form, type) and dataclasses.is_dataclass(form):
        hints = get_type_hints(form, include_extras=True)
        return {field.name: (hints[field.name], FieldInfo(default=field.default)) for field in dataclasses.fields(form)}
    return {}


def descend(annotation: Any, key: Any) -> Any:
    """Annotation of what stands under a key, or is the member of that tag; None where there is nothing."""
    found = list(forms(annotation))
    for form, beside in found:
        if Tag(key) in beside:
            return form
    for form, _ in found:
        if free_keys(form):
            return get_args(form)[1]
        if get_origin(form) is tuple and isinstance(key, int):
            return get_args(form)[0]
        if key in (known := fields(form)):
            return known[key][0]
    return None


def member(annotation: Any, values: Mapping[str, Any]) -> Any:
    """Of a union whose members are told apart by their values, the one of these; else the annotation itself."""
    for _, beside in forms(annotation):
        for part in beside:
            if isinstance(part, Discriminator) and callable(part.discriminator):
                return descend(annotation, part.discriminator(values))
    return annotation


def is_choice(annotation: Any) -> bool:
    """Whether exactly one builder of a family stands here."""
    return any(isinstance(form, type) and issubclass(form, Choice) for form, _ in forms(annotation))
