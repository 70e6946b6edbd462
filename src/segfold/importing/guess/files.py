"""The files that lie at a path: of a folder, of a zip, and of zips in them. Nothing is written there."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from segfold.errors import SegfoldError
from segfold.importing.guess.words import common_front, split_of
from segfold.layouts.archive import unpack
from segfold.layouts.ids import is_unicode, one_form

IMAGES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".pgm", ".ppm", ".pbm"),
    *(".npy", ".dcm", ".dicom"),
)
_DEPTH = 10  # folders below the path
_NESTING = 2  # zips in zips


class Source:
    """Files by their paths, with forward slashes and in one Unicode form, below the folder that holds them all.

    Args:
        path: a folder, or a zip.
        scratch: a folder of the caller's own, where members of zips are unpacked as they are asked for.

    Attributes:
        names: the paths.
        notes: what could not be looked into, and why.
        top: the folders that all of it lies in, below ``path``; paths leave them out.

    Raises:
        SegfoldError: nothing is there, or neither a folder nor a zip.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        if not path.exists():
            raise SegfoldError(f"no {path}: expected a folder or a zip with images")
        self.notes: list[str] = []
        self._scratch = scratch
        self._files: dict[str, str] = {}  # what lies on the disk
        self._members: dict[str, tuple[Path, PurePosixPath]] = {}  # what lies in a zip, and where in it
        if path.is_dir():
            self._folder(path)
        elif path.suffix.lower() == ".zip":
            self._zip(path, PurePosixPath(), _NESTING)
        else:
            raise SegfoldError(f"{path} is neither a folder nor a zip: expected one with images")
        everything = [*self._files, *self._members]
        self.top = _top([name for name in everything if is_image(name) or name.lower().endswith((".csv", ".txt"))])
        self._cut = len(self.top) + 1 if self.top else 0
        self.names = sorted(name[self._cut :] for name in everything if name.startswith(self.top))

    def fetch(self, names: Iterable[str]) -> dict[str, Path]:
        """Where files can be read, by their paths; those in zips are unpacked."""
        found: dict[str, Path] = {}
        zipped: dict[Path, dict[PurePosixPath, str]] = {}
        for name in names:
            whole = f"{self.top}/{name}" if self.top else name
            if whole in self._files:
                found[name] = Path(self._files[whole])
            else:
                archive, member = self._members[whole]
                zipped.setdefault(archive, {})[member] = name
        for archive, members in zipped.items():
            found |= self._unpacked(archive, members)
        return found

    def _unpacked(self, archive: Path, members: dict[PurePosixPath, str]) -> dict[str, Path]:
        target = self._scratch / f"{len(list(self._scratch.iterdir())) if self._scratch.is_dir() else 0}"
        try:
            unpack(archive, target, lambda member: member in members)
        except SegfoldError as error:
            self.notes.append(str(error))
            return {}
        return {name: target / member for member, name in members.items()}

    def _folder(self, path: Path) -> None:
        zips = []
        for file, place in self._walk(str(path), "", _DEPTH):
            if not is_unicode(place):
                self.notes.append(f"{file!r} is a name that is not UTF-8; it is left out")
            elif place.lower().endswith(".zip"):
                zips.append((Path(file), PurePosixPath(place).with_suffix("")))
            else:
                self._files[place] = file
        folders = {name.rpartition("/")[0] for name in self._files}
        there = {parent for folder in folders for parent in (PurePosixPath(folder), *PurePosixPath(folder).parents)}
        for archive, inside in zips:
            if inside not in there:  # else it has been unpacked already
                self._zip(archive, inside, _NESTING)

    def _walk(self, folder: str, inside: str, depth: int) -> Iterator[tuple[str, str]]:
        """Files, with their paths below the first folder."""
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry for entry in entries if not _hidden(entry.name)), key=lambda entry: entry.name)
        except OSError as error:
            self.notes.append(f"{folder} cannot be looked into: {error.strerror or error}")
            return
        for entry in found:
            place = f"{inside}{one_form(entry.name)}"
            if not entry.is_dir():
                yield entry.path, place
            elif depth > 0:
                yield from self._walk(entry.path, f"{place}/", depth - 1)

    def _zip(self, archive: Path, inside: PurePosixPath, nesting: int) -> None:
        members: list[PurePosixPath] = []

        def note(member: PurePosixPath) -> bool:
            if not any(_hidden(part) for part in member.parts):
                members.append(member)
            return False

        try:
            unpack(archive, self._scratch, note)
        except SegfoldError as error:
            self.notes.append(str(error))
            return
        # ``train.zip`` often holds ``train/`` again.
        doubled = bool(inside.name) and all(member.parts[0] == inside.name for member in members)
        above = inside.parent if doubled else inside
        for member in members:
            if member.suffix.lower() != ".zip":
                self._members[(above / member).as_posix()] = archive, member
            elif nesting > 0:
                name = member.as_posix()
                for file in self._unpacked(archive, {member: name}).values():
                    self._zip(file, above / member.with_suffix(""), nesting - 1)


def is_image(name: str) -> bool:
    """Whether a file is an image, or a mask, by its name."""
    return name.lower().endswith(IMAGES)


def _top(names: list[str]) -> str:
    """The folders that all files lie in, but for those that say what is in them."""
    folders = [tuple(name.split("/")[:-1]) for name in names]
    common = common_front(folders)
    if common and any(len(folder) == len(common) for folder in folders):
        own = [name for name, folder in zip(names, folders) if len(folder) == len(common)]
        if all(is_image(name) for name in own):  # one folder of images, without a table beside it
            common.pop()
    while common and split_of(common[-1]):
        common.pop()
    return "/".join(common)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
