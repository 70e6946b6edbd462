"""What settings do, as the docstrings of their builders and classes say it."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any


def summary(thing: Callable[..., Any]) -> str:
    """First line of the docstring of a builder or class."""
    return _parsed(thing)[0]


def descriptions(thing: Callable[..., Any]) -> Mapping[str, str]:
    """Description by name of every argument of a builder (``Args:``) and field of a class (``Attributes:``)."""
    return _parsed(thing)[1]


@cache
def _parsed(thing: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    from docstring_parser import DocstringStyle, parse

    docstring = parse(thing.__doc__ or "", style=DocstringStyle.GOOGLE)
    found: dict[str, str] = {}
    for kind in ("attribute", "param"):  # where both describe a name, the argument is the setting
        for entry in docstring.params:
            if entry.args[0] == kind:
                text = " ".join((entry.description or "").split())
                found[entry.arg_name] = text[:1].upper() + text[1:] if text[:1].isascii() else text
    return " ".join((docstring.short_description or "").split()), found
