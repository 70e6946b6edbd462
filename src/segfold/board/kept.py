"""What was built before and need not be built again: each file of the board by a key of all that it is made from."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from segfold.errors import SegfoldError
from segfold.files import read_json, write_json

FORMAT = 1
"""Of all files of a board; raised when the same inputs make other files, which are then all built anew."""


def key_of(*parts: Any) -> str:
    """A hash of plain values, and of what files hold: a path stands for its content, or for not being there."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(_content(part), sort_keys=True, default=str).encode() + b"\0")
    return digest.hexdigest()


def _content(part: Any) -> Any:
    if not isinstance(part, Path):
        return part
    try:
        return hashlib.sha256(part.read_bytes()).hexdigest()
    except OSError as error:
        return str(error.errno)


class Kept:
    """The keys of the files below a folder. What nobody has asked for since it was opened can be removed.

    Attributes:
        made: names of the files that were built since it was opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "kept.json"
        self._keys = self._read()
        self._used: set[str] = set()
        self.made: list[str] = []

    def _read(self) -> dict[str, str]:
        try:
            found = read_json(self._path)
        except SegfoldError:
            return {}  # nothing is kept
        keys = found.get("keys") if isinstance(found, dict) and found.get("format") == FORMAT else None
        return {str(name): str(key) for name, key in keys.items()} if isinstance(keys, dict) else {}

    def use(self, name: str) -> None:
        """Marks a file as used, whatever it was made from."""
        self._used.add(name)

    def current(self, name: str, key: str) -> bool:
        """Whether a file or folder is there and was made from what ``key`` stands for; marks it as used."""
        self._used.add(name)
        return self._keys.get(name) == key and (self.folder / name).exists()

    def made_from(self, name: str, key: str) -> None:
        """Notes from what a file or folder, which is whole now, was made."""
        self._used.add(name)
        self._keys[name] = key
        self.made.append(name)

    def build(self, name: str, key: str, make: Callable[[Path], None]) -> bool:
        """Has a file made where it is not current. Returns whether it was made."""
        if self.current(name, key):
            return False
        make(self.folder / name)
        self.made_from(name, key)
        return True

    def save(self) -> None:
        """Writes the keys; what was built since the last time would else be built again."""
        write_json(self._path, {"format": FORMAT, "keys": dict(sorted(self._keys.items()))})

    def forget(self, *names: str) -> None:
        """Drops the keys of files that were removed."""
        for name in names:
            self._keys.pop(name, None)

    def remove_unused(self, keep: Iterable[str] = ()) -> list[str]:
        """Removes the files that nobody has asked for, and returns their names; those of a folder are removed with it."""
        import shutil

        gone = sorted(set(self._keys) - self._used - set(keep))
        for name in gone:
            path = self.folder / name
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.forget(*gone)
        return gone
