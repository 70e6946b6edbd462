"""What a check of a submission has found, in lines for people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from segfold.errors import one_line
from segfold.layouts.table import shorten

_MASK_LINES = 20  # bad masks named one by one; the rest is only counted


@dataclass(frozen=True)
class Findings:
    """What a check of a submission has found, one line each.

    Attributes:
        problems: what the host refuses, or may refuse.
        remarks: what the host accepts, its rules being silent, though segfold does not write it so: runs that touch,
            leading zeros, more spaces than one between two numbers.
    """

    problems: list[str]
    remarks: list[str]


def lines(texts: Iterable[str]) -> list[str]:
    """Texts as one line each, whatever they quote."""
    return [one_line(text) for text in texts]


def some(names: Sequence[str], noun: str) -> str:
    """``3 ids: a, b, c``; the first five names."""
    shown = shorten([name or "(blank)" for name in names], 5)
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''}: {shown}"


def of_masks(found: Mapping[int, str], names: Mapping[int, str], noun: str) -> list[str]:
    """A line for each mask, in the order of the file; of many the last line says how many more.

    Args:
        found: what was found, by the place in the file.
        names: of the masks.
        noun: what was found, in the plural.
    """
    listed = [f"mask of {names[place]}: {found[place]}" for place in sorted(found)]
    if len(listed) > _MASK_LINES:
        listed[_MASK_LINES:] = [f"and {len(listed) - _MASK_LINES} more masks with {noun}"]
    return listed
