"""What is wrong with some settings, in one line."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from segfold.errors import shown
from segfold.ranges import Form
from segfold.schema.places import descend, fields, forms

_FORM = re.compile(
    r"(?:constrained-)?(?:int|float|str)|bool|none|\[key\]|(?:literal|tuple|list|dict|function-(?:after|before))\[.*\]"
)
"""What pydantic calls the allowed forms of a value, in the location of an error."""


def problems(error: ValidationError, root: type[BaseModel], tags: Sequence[str] = (), at: str = "") -> str:
    """All that is wrong with some settings; an unknown key or name comes with the nearest valid one.

    Args:
        root: the model that was to be filled.
        tags: names of union members, which pydantic puts into the location but no user has written.
        at: dotted path of the model itself.
    """
    by_path: dict[str, list[Any]] = {}
    for item in error.errors():
        parts = [str(part) for part in item["loc"] if part not in tags and not _FORM.fullmatch(str(part))]
        by_path.setdefault(".".join([at, *parts] if at else parts), []).append(item)
    # A value of several allowed forms has an error for each; one within it says more than those about the whole.
    paths = [path for path in by_path if not any(other.startswith(f"{path}.") for other in by_path)]
    return "; ".join(_problem(path, by_path[path], root, tags) for path in paths)


def _problem(path: str, items: Sequence[Any], root: type[BaseModel], tags: Sequence[str]) -> str:
    first = items[0]
    match first["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"unknown key {path}; {_near(path.rpartition('.')[2], _keys_at(root, first['loc'][:-1]))}"
        case "union_tag_invalid":
            return f"unknown {path} {first['ctx']['tag']!r}; {_near(first['ctx']['tag'], tags)}"
        case "missing":
            return f"{path} is missing"
        case _:
            found = first["input"]
            said = [_said(item, root) for item in items]
            known = isinstance(found, Mapping | BaseModel) or said[0].startswith("found ") or ", found " in said[0]
            seen = "" if known else f", found {shown(found)}"
            wanted = " or ".join([said[0], *(text.removeprefix("Input should be ") for text in said[1:])])
            wanted = re.sub(r"valid dictionary or instance of \S+", "mapping", wanted).replace("valid tuple", "list")
            return f"{path}: {wanted}{seen}".removeprefix(": ")


def _said(item: Any, root: type[BaseModel]) -> str:
    """What pydantic says, or in place of a pattern the words for it."""
    if item["type"] == "string_pattern_mismatch":
        for _, beside in forms(_at(root, item["loc"])):
            for part in beside:
                if isinstance(part, Form):
                    return f"Input should be {part.words}"
    return str(item["msg"]).removeprefix("Value error, ").partition(", unable to ")[0]


def _near(name: str, known: Sequence[str]) -> str:
    if not known:
        return "there are no settings here"
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def _at(annotation: Any, location: Sequence[Any]) -> Any:
    for part in location:
        annotation = descend(annotation, part)
    return annotation


def _keys_at(root: Any, location: Sequence[Any]) -> list[str]:
    """Names that are valid under a location of the settings."""
    return [key for form, _ in forms(_at(root, location)) for key in fields(form)]
