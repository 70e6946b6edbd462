"""Ids of images: the names of their files in one Unicode form.

macOS decomposes names (``é`` becomes ``e`` and an accent) in folders and in the zips that it makes, tables hold
them as they were typed. Inside segfold every id is composed (NFC).
"""

import os
import unicodedata
from pathlib import Path

from segfold.errors import SegfoldError


def one_form(text: str) -> str:
    """``text`` in the form in which ids, columns and paths are compared."""
    return unicodedata.normalize("NFC", text)


def entries_by_id(folder: Path, suffix: str) -> dict[str, "os.DirEntry[str]"]:
    """A folder's files with a suffix, by id; hidden files (``._a.png``) are not data.

    Raises:
        SegfoldError: no such folder, a name that is not UTF-8, or two names that are one id.
    """
    suffix = one_form(suffix)
    found: dict[str, os.DirEntry[str]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = one_form(entry.name)
                if not name.endswith(suffix) or name.startswith(".") or not entry.is_file():
                    continue
                name = name.removesuffix(suffix)
                if not _is_unicode(name):
                    raise SegfoldError(f"{folder} holds {entry.name!r}, a name that is not UTF-8: rename the file")
                if name in found:
                    raise SegfoldError(f"{folder} holds {entry.name!r} in two Unicode forms: remove one of the files")
                found[name] = entry
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SegfoldError(f"no folder {folder}: import the data anew with `make data`") from error
    return found


def file_of(folder: Path, name: str, suffix: str) -> Path:
    """Path of an id's file, whose name may be in another form where a folder was filled by hand."""
    path = folder / f"{name}{suffix}"
    if path.name.isascii() or path.exists():
        return path
    decomposed = folder / unicodedata.normalize("NFD", path.name)
    if decomposed.exists():
        return decomposed
    with os.scandir(folder) as entries:
        return next((Path(entry.path) for entry in entries if one_form(entry.name) == one_form(path.name)), path)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
