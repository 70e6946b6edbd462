"""Ids of images: the names of their files in one Unicode form.

macOS decomposes names (``é`` becomes ``e`` and an accent) in folders and in the zips that it makes, tables hold
them as they were typed. Inside segfold every id is composed (NFC).
"""

import os
import unicodedata
from pathlib import Path


def one_form(text: str) -> str:
    """``text`` in the form in which ids, columns and paths are compared."""
    return unicodedata.normalize("NFC", text)


def entry_of(folder: Path, name: str) -> Path:
    """Path of a name in a folder, which may be in another form where the folder was filled by hand."""
    path = folder / name
    if name.isascii() or path.exists():
        return path
    decomposed = folder / unicodedata.normalize("NFD", name)
    if decomposed.exists() or not folder.is_dir():
        return decomposed if decomposed.exists() else path
    with os.scandir(folder) as entries:
        return next((Path(entry.path) for entry in entries if one_form(entry.name) == one_form(name)), path)


def is_unicode(text: str) -> bool:
    """Whether the name of a file is UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
