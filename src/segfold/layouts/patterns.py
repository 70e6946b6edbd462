"""Paths with named fields: ``train/{id}.jpg`` is where the image of each id lies, ``{*}`` stands for anything."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from segfold.errors import SegfoldError
from segfold.layouts.ids import entry_of, is_unicode, one_form

_FIELD = re.compile(r"\{([A-Za-z_]\w*|\*)\}")
_LONGEST = 100  # bytes of a name that will be a file or folder, or a part of one


def _inside(path: str) -> str:
    """A path of a competition file stays inside the data folder, whoever wrote the file."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or path.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise ValueError("expected a relative path inside the data folder")
    if "\0" in path or any(len(part.encode()) > _LONGEST for part in parts):
        raise ValueError(f"expected names of up to {_LONGEST} bytes without NUL")
    return path


def _fields_are_named(path: str) -> str:
    if set(_FIELD.sub("", path)) & set("{}"):
        raise ValueError("expected fields like {id}, and {*} for anything")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
PatternText = Annotated[str, AfterValidator(_inside), AfterValidator(_fields_are_named)]
Template = Annotated[str, Field(min_length=1), AfterValidator(_fields_are_named)]
Text = Annotated[str, Field(min_length=1)]
Suffix = Annotated[str, Field(pattern=r"^[^/\\\x00]*$", max_length=_LONGEST)]
Bands = Annotated[
    tuple[PatternText, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1),
]
"""One path, or a list of them: a band of the image each."""


class Match(NamedTuple):
    """A file that a pattern finds.

    Attributes:
        name: its path below the folder in which the pattern was looked for, with forward slashes, in one Unicode form.
        place: where it is.
        size: in bytes.
        time: of its last change, in nanoseconds.
        fields: what stands for each named field.
    """

    name: str
    place: str
    size: int
    time: int
    fields: dict[str, str]

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.place)

    @property
    def state(self) -> tuple[int, int]:
        """What changes with the file."""
        return self.size, self.time


class Pattern:
    """Where files of one kind lie.

    A field that stands twice is the same text twice; fields hold no slash. Hidden files are not data.

    Args:
        text: relative path with fields.
        classes: what may stand for the field ``{class}``.
        label: what to call it; the text by default.
        what: what to call its files; their names in ``text`` by default.
    """

    def __init__(self, text: str, classes: Sequence[str] = (), label: str = "", what: str | None = None) -> None:
        self.parts = PurePosixPath(one_form(text)).parts
        self.text = "/".join(self.parts)
        self.classes = tuple(classes)
        literal = next((i for i, part in enumerate(self.parts[:-1]) if _FIELD.search(part)), len(self.parts) - 1)
        self.base = "/".join(self.parts[:literal])
        self.rest = self.parts[literal:]
        self.label = label or self.text
        self.what = "/".join(self.rest) if what is None else what
        self.fields = fields_of(self.text)

    @classmethod
    def of(cls, text: str, suffix: str, classes: Sequence[str] = ()) -> "Pattern":
        """Of a path with fields, or of a folder whose files are named by their ids and a suffix."""
        if _FIELD.search(text):
            return cls(text, classes)
        return cls(f"{text}/{{id}}{suffix}", classes, label=text, what=suffix)

    def find(self, root: Path) -> list[Match]:
        """The files below ``root``, in no order.

        Raises:
            SegfoldError: the folder in front of the first field is not there, a name is not UTF-8, or two names are one
                in two Unicode forms.
        """
        folder = root / self.base
        if not folder.is_dir():
            raise SegfoldError(f"no folder {folder}: import the data anew with `make data`")
        return list(self.below(folder))

    def below(self, folder: Path) -> Iterator[Match]:
        """As ``find``, where the folder in front of the first field is ``folder``."""
        yield from self._below(folder, self.base, 0, {})

    def _below(self, folder: Path, inside: str, level: int, known: dict[str, str]) -> Iterator[Match]:
        part, last = self.rest[level], level == len(self.rest) - 1
        seen: set[str] = set()
        for entry, name, fields in self._entries(folder, part, known):
            if last != entry.is_file():
                continue
            if not is_unicode(name):
                raise SegfoldError(f"{folder} holds {entry.name!r}, a name that is not UTF-8: rename the file")
            if name in seen:
                raise SegfoldError(f"{folder} holds {entry.name!r} in two Unicode forms: remove one of the files")
            seen.add(name)
            path = f"{inside}/{name}" if inside else name
            if last:
                status = entry.stat()
                yield Match(path, os.fspath(entry), status.st_size, status.st_mtime_ns, fields)
            else:
                yield from self._below(Path(entry), path, level + 1, fields)

    def _entries(
        self, folder: Path, part: str, known: dict[str, str]
    ) -> Iterator[tuple["os.DirEntry[str] | Path", str, dict[str, str]]]:
        """What of a folder is named like a part of the pattern, and the fields then known."""
        if set(_FIELD.findall(part)) <= known.keys():
            name = _filled(part, known)
            if (path := entry_of(folder, name)).exists():
                yield path, name, known
            return
        matches = _compiled(part, self.classes, tuple(known.items())).fullmatch
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = one_form(entry.name)
                    if not name.startswith(".") and (match := matches(name)):
                        yield entry, name, {**known, **match.groupdict()}
        except (FileNotFoundError, NotADirectoryError):
            return

    def has(self, path: PurePosixPath) -> bool:
        """Whether ``path``, in the form of ``one_form``, is a file of this pattern below some folder."""
        return bool(self._tail.fullmatch(path.as_posix()))

    @cached_property
    def _tail(self) -> re.Pattern[str]:
        return re.compile("(?:.*/)?" + _expression(self.text, self.classes, {}), re.DOTALL)

    def match(self, path: str) -> dict[str, str] | None:
        """The fields of a path in the data folder; None of one that is not of this pattern."""
        found = self._whole.fullmatch(path)
        return None if found is None else found.groupdict()

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return re.compile(_expression(self.text, self.classes, {}), re.DOTALL)

    def path(self, fields: Mapping[str, str]) -> str:
        """Where the file of these fields would lie; what is not among them is a star."""
        return _filled(self.text, fields)


def fields_of(text: str) -> frozenset[str]:
    """Names of the fields of a pattern or template, ``*`` among them."""
    return frozenset(_FIELD.findall(text))


def template(text: str, classes: Sequence[str] = ()) -> re.Pattern[str]:
    """What matches the texts of a template such as ``{id}.jpg_{class}``, with a group for each field."""
    return _compiled(one_form(text), tuple(classes), ())


def _filled(text: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda field: fields.get(field[1], "*"), text)


@cache
def _compiled(part: str, classes: tuple[str, ...], known: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    return re.compile(_expression(part, classes, dict(known)), re.DOTALL)


def _expression(text: str, classes: Sequence[str], known: Mapping[str, str]) -> str:
    made, at, seen = "", 0, set()
    for field in _FIELD.finditer(text):
        made += re.escape(text[at : field.start()])
        at, name = field.end(), field[1]
        if name in known:
            made += re.escape(known[name])
        elif name in seen:
            made += f"(?P={name})"
        elif name == "*":
            made += "[^/]+?"
        else:
            # The shortest texts that fit: ``{slice}_{*}`` ends at the first underscore.
            inside = "|".join(re.escape(one_form(each)) for each in classes) if name == "class" else "[^/]+?"
            made += f"(?P<{name}>{inside})"
            seen.add(name)
    return made + re.escape(text[at:])
