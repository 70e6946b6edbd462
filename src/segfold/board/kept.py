"""What was built before and need not be built again: each file of the board by a key of all that it is made from."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from segfold.errors import SegfoldError
from segfold.files import read_json, write_json

FORMAT = 1
"""Of all files of a board; raised when the same inputs make other files, which are then all built anew."""

_SECONDS = 5
"""After so many the keys are written in the midst of the work: a kill costs no more than that."""


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
        self._stored, self._saved = set(self._keys), time.monotonic()
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

    def lost(self, name: str) -> bool:
        """Whether a file or folder was made and is not there any more."""
        return name in self._keys and not (self.folder / name).exists()

    def begin(self, *names: str) -> None:
        """Drops the keys of what is about to be made, on disk too.

        If the process were killed after a file was written and before its key, the old key would stand for it: and be taken
        at its word once the inputs are again what they were.
        """
        self.forget(*names)
        if not self._stored.isdisjoint(names):
            self.save()

    def made_from(self, name: str, key: str) -> None:
        """Notes from what a file or folder, which is whole now, was made; ``begin`` came before."""
        self._used.add(name)
        self._keys[name] = key
        self.made.append(name)
        if time.monotonic() - self._saved > _SECONDS:
            self.save()

    def used(self) -> dict[str, str | None]:
        """The key of each file that was asked for since it was opened; None of one that was never made."""
        return {name: self._keys.get(name) for name in sorted(self._used)}

    def build(self, name: str, key: str, make: Callable[[Path], None]) -> bool:
        """Has a file made where it is not current. Returns whether it was made."""
        if self.current(name, key):
            return False
        self.begin(name)
        make(self.folder / name)
        self.made_from(name, key)
        return True

    def save(self) -> None:
        """Writes the keys; what was built since the last time would else be built again."""
        write_json(self._path, {"format": FORMAT, "keys": dict(sorted(self._keys.items()))})
        self._stored, self._saved = set(self._keys), time.monotonic()

    def forget(self, *names: str) -> None:
        """Drops the keys of files that were removed."""
        for name in names:
            self._keys.pop(name, None)

    def remove_unused(self) -> list[str]:
        """Removes the files that nobody has asked for, and returns their names; those of a folder are removed with it.

        What lies in the board's own folders is among them with or without a key: a kill may have left it.
        """
        gone = sorted((self._keys.keys() - self._used) | set(self._unnoted(self._used)))
        for name in gone:
            path = self.folder / name
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                for parent in path.relative_to(self.folder).parents[:-1]:
                    (self.folder / parent).rmdir()  # ends at the first that is not empty
        self.forget(*gone)
        return gone

    def _unnoted(self, wanted: Collection[str]) -> Iterator[str]:
        """Files without a key, in the folders that those with one lie in."""
        for own in {name.split("/")[0] for name in {*wanted, *self._keys} if "/" in name}:
            for place, folders, files in os.walk(self.folder / own):
                below = Path(place).relative_to(self.folder).as_posix()
                known = {each for each in folders if f"{below}/{each}" in self._keys or f"{below}/{each}" in wanted}
                folders[:] = sorted(set(folders) - known)
                yield from (name for each in files if (name := f"{below}/{each}") not in wanted)
