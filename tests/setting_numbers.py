"""Every number among the settings, with its range, as it is found in the settings' own models."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, Tag

from segfold.settings import Experiment


@dataclass(frozen=True)
class Number:
    """A number somewhere below a model of settings.

    Attributes:
        path: its keys from the model down.
        whole: whether it is an integer.
        count: of numbers in a list that it stands in; 0 where it stands alone.
        low: its bound; -inf for none. ``above``: the bound itself is out of range.
        high: its bound; inf for none. ``below``: the bound itself is out of range.
    """

    path: tuple[str, ...]
    whole: bool
    count: int
    low: float
    above: bool
    high: float
    below: bool

    def __str__(self) -> str:
        return ".".join(self.path) + "[]" * (self.count > 0)

    def at(self, value: Any) -> dict[str, Any]:
        """Settings, from the model down, in which the number has this value."""
        result: Any = [value] * self.count if self.count else value
        for key in reversed(self.path):
            result = {key: result}
        return result

    def inside(self) -> list[float]:
        """The least and the largest that are in range."""
        if self.whole:
            return [int(self.low) + self.above, int(self.high) - self.below]
        return [
            math.nextafter(self.low, math.inf) if self.above else float(self.low),
            math.nextafter(self.high, -math.inf) if self.below else float(self.high),
        ]

    def beyond(self) -> list[Any]:
        """What is just out of range, and what is no number of this kind."""
        least, most = self.inside()
        step = (
            (least - 1, most + 1) if self.whole else (math.nextafter(least, -math.inf), math.nextafter(most, math.inf))
        )
        huge = [value for value in (-(10**21), 10**21) if not least <= value <= most]
        return [*step, *huge, 10**400, math.nan, math.inf, -math.inf, "much", True, {"a": 1}]


def numbers(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Number]:
    """All numbers below a model of settings. Free mappings, as of timm's options, are left out."""
    for name, field in model.model_fields.items():
        yield from _numbers(field.annotation, (*path, field.alias or name), list(field.metadata))


def _numbers(annotation: Any, path: tuple[str, ...], metadata: list[Any], count: int = 0) -> Iterator[Number]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        tags = [part.tag for part in parts[1:] if isinstance(part, Tag)]
        if tags == [""]:
            return
        yield from _numbers(parts[0], path, [*metadata, *parts[1:]], count)
    elif origin in (Union, UnionType):
        for part in parts:
            yield from _numbers(part, path, [], count)
    elif origin is tuple:
        yield from _numbers(parts[0], path, [], 1 if parts[-1] is Ellipsis else len(parts))
    elif origin is dict and isinstance(parts[1], type) and issubclass(parts[1], BaseModel):
        yield from numbers(parts[1], (*path, "a"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from numbers(annotation, path)
    elif annotation in (int, float):
        yield _number(path, annotation is int, metadata, count)


def _number(path: tuple[str, ...], whole: bool, metadata: list[Any], count: int) -> Number:
    low, above, high, below = -math.inf, False, math.inf, False
    for part in metadata:
        match part:
            case Ge(ge=bound):
                low, above = bound, False  # type: ignore[assignment]
            case Gt(gt=bound):
                low, above = bound, True  # type: ignore[assignment]
            case Le(le=bound):
                high, below = bound, False  # type: ignore[assignment]
            case Lt(lt=bound):
                high, below = bound, True  # type: ignore[assignment]
    return Number(path, whole, count, low, above, high, below)


def variants(annotation: Any) -> Mapping[str, type[BaseModel]]:
    """The models' settings by their names."""
    return {
        part.__metadata__[0].tag: get_args(part)[0]
        for part in get_args(annotation)
        if isinstance(part.__metadata__[0], Tag) and part.__metadata__[0].tag
    }


def of_the_experiment() -> list[Number]:
    """All numbers of an experiment; those of a model have its name in their path, behind ``model``."""
    found = [number for number in numbers(Experiment) if number.path[0] != "model"]
    for name, model in variants(Experiment.model_fields["model"].annotation).items():
        found += [replace(number, path=("model", name, *number.path)) for number in numbers(model)]
    return found
