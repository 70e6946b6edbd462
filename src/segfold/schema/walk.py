"""All settings below a model, each with its dotted path, what it may be, its default and what it does."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Tag
from pydantic_core import PydanticUndefined

import segfold
from segfold.schema.descriptions import descriptions, summary
from segfold.schema.models import Choice, NamedMap, Settings
from segfold.schema.places import fields, forms, free_keys
from segfold.schema.words import in_words, value_in_words

FREE = "NAME"
"""Stands in a path for a key that the user names, such as a stage's."""


@dataclass(frozen=True)
class Setting:
    """A key of the settings.

    Attributes:
        path: keys from the root down; ``FREE`` for one that the user names.
        annotation: what may stand there.
        default: what stands there if nothing is said; ``PydanticUndefined`` for nothing.
        description: what it does.
        owner: the builder or class whose setting it is.
        variant: name of the union's member that it belongs to, such as a model's; empty elsewhere.
    """

    path: tuple[str, ...]
    annotation: Any
    default: Any
    description: str
    owner: Callable[..., Any]
    variant: str = ""

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def may_be(self) -> str:
        """The allowed values in words."""
        return in_words(self.annotation)

    @property
    def default_words(self) -> str:
        """The default as it stands in YAML; empty for none."""
        return value_in_words(self.default)

    @property
    def source(self) -> str:
        """File and name of what has the setting in its signature."""
        file = Path(inspect.getsourcefile(self.owner) or "").relative_to(Path(segfold.__file__).parents[1])
        return f"{file.as_posix()}: {self.owner.__name__}"

    @property
    def is_family(self) -> bool:
        """Whether builders are named below it."""
        return any(isinstance(form, type) and issubclass(form, Choice | NamedMap) for form, _ in forms(self.annotation))

    def below(self) -> Iterator["Setting"]:
        """The settings directly below this one; those of a union of models come with each model's name."""
        for form, beside in forms(self.annotation):
            variant = next((part.tag for part in beside if isinstance(part, Tag)), self.variant)
            if free_keys(form):
                value = get_args(form)[1]
                classes = [part for part, _ in forms(value) if isinstance(part, type) and issubclass(part, BaseModel)]
                owner, said = (classes[0], summary(classes[0])) if classes else (self.owner, self.description)
                yield Setting((*self.path, FREE), value, PydanticUndefined, said, owner, variant)
                continue
            for key, (annotation, field) in fields(form).items():
                if issubclass(form, Choice | NamedMap):
                    builder = _builder(annotation)
                    said = field.description or summary(builder)
                    yield Setting((*self.path, key), annotation, PydanticUndefined, said, builder, variant)
                    continue
                owner = getattr(form, "builder", None) or form
                default = field.get_default(call_default_factory=True)
                said = field.description or descriptions(owner).get(key, "")
                yield Setting((*self.path, key), annotation, default, said, owner, variant)


def _builder(annotation: Any) -> Callable[..., Any]:
    """What is built of the settings of a family's member; their class where that alone says what they are."""
    found = (form for form, _ in forms(annotation) if isinstance(form, type) and issubclass(form, Settings))
    return next(form.builder or form for form in found)


def root(model: type[BaseModel]) -> Setting:
    """The whole of the settings that a model checks."""
    return Setting((), model, PydanticUndefined, summary(model), model)


def walk(setting: Setting) -> Iterator[Setting]:
    """All settings below one, each before those below it."""
    for part in setting.below():
        yield part
        yield from walk(part)


def find(setting: Setting, keys: Sequence[str]) -> list[Setting]:
    """What stands under some keys below a setting: nothing, one setting, or one of each model that has it."""
    found = [setting]
    for key in keys:
        found = [
            replace(part, path=(*part.path[:-1], key))
            for above in found
            for part in above.below()
            if part.path[-1] in (key, FREE)
        ]
    return found
