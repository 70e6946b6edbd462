"""Where a competition's files lie in what a user has: nested folders, zips, zips in zips."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.archive import unpack
from segfold.layouts.ids import entries_by_id, one_form
from segfold.layouts.table import shorten

_DEPTH = 5  # folders below the source in which to look
_NESTING = 3  # zips in zips


@dataclass(frozen=True)
class Part:
    """A folder of files with a suffix, or (without one) a single file, at its path in the data folder."""

    path: str
    suffix: str | None
    needed: bool

    def ends(self, path: PurePosixPath) -> bool:
        """Whether ``path``, in the form of ``one_form``, is this part somewhere below another folder."""
        own = PurePosixPath(one_form(self.path)).parts
        return path.parts[-len(own) :] == own

    def has(self, file: PurePosixPath) -> bool:
        """Whether a file is this part or one of its files."""
        if self.suffix is None:
            return self.ends(file)
        return file.name.endswith(one_form(self.suffix)) and self.ends(file.parent)

    def files(self, place: Path) -> dict[str, Path]:
        """The files of this part where it lies at ``place``, by their paths in the data folder."""
        if self.suffix is None:
            return {self.path: place} if place.is_file() else {}
        if not place.is_dir():
            return {}
        found = entries_by_id(place, self.suffix)
        return {f"{self.path}/{name}{self.suffix}": Path(found[name].path) for name in sorted(found)}


def parts(competition: Competition) -> list[Part]:
    """What a competition's data consists of."""
    found = [
        Part(competition.train_images, competition.image_suffix, True),
        Part(competition.test_images, competition.image_suffix, True),
        Part(competition.train_table, None, True),
        Part(competition.sample_submission, None, True),
    ]
    found += [Part(table.file, None, True) for table in competition.tables.values()]
    # Without a folder of masks the train table's RLEs are used.
    if competition.train_masks is not None:
        found.append(Part(competition.train_masks, competition.mask_suffix, False))
    if competition.solution is not None:
        found.append(Part(competition.solution, None, False))
    return found


def named_files(competition: Competition, root: Path) -> dict[str, Path]:
    """The files of a data folder that the competition names, by their paths in it."""
    found = [part.files(root / part.path) for part in parts(competition)]
    return {name: file for files in found for name, file in files.items()}


def find_files(competition: Competition, source: Path, scratch: Path) -> tuple[dict[str, Path], list[str]]:
    """Finds a competition's files in a folder or a zip.

    Of several places the one that is nested least is taken; a folder without a file of its part is none. Zips are
    opened only while something needed is missing, and only for what the competition names. One that cannot be
    unpacked does not matter where everything is found without it.

    Args:
        competition: whose files.
        source: a folder, or a zip.
        scratch: where to unpack; made as needed.

    Returns:
        The place of each file by its path in the data folder, and a line for each zip or folder that was skipped.

    Raises:
        SegfoldError: something needed is not there, or is there twice.
    """
    if not source.exists():
        raise SegfoldError(f"no {source}: expected a folder or a zip with the data of {competition.title}")
    search = _Search(parts(competition), source)
    if source.is_dir():
        archives = search.folder(source)
    elif source.suffix.lower() == ".zip":
        archives = [(source, PurePosixPath(source.stem))]
    else:
        raise SegfoldError(f"{source} is neither a folder nor a zip: expected one with the data of {competition.title}")
    for level in range(_NESTING):
        if not archives or not search.missing():
            break
        root = scratch / str(level)
        for archive, inside in archives:
            search.open(archive, inside, root)
        archives = search.folder(root) if root.is_dir() else []
    if missing := search.missing():
        reasons = [*search.skipped, *(search.empty[part] for part in missing if part in search.empty)]
        raise SegfoldError(
            f"{shorten(reasons, 3, '; ')}{'; so ' if reasons else ''}{source} has no "
            f"{shorten([part.path for part in missing])}: expected the data of {competition.title} "
            "as Kaggle packs it, in a folder or a zip"
        )
    files = {name: file for part, place in search.places.items() for name, file in part.files(place).items()}
    return files, [f"skipped {reason}" for reason in search.skipped]


class _Search:
    """Looks for parts in one folder after the other.

    Attributes:
        places: where each part lies that has been found.
        skipped: what could not be looked into, and why.
        empty: what to say of a part whose folder holds no file of it.
    """

    def __init__(self, wanted: list[Part], source: Path) -> None:
        self.wanted, self.source = wanted, source
        self.places: dict[Part, Path] = {}
        self.skipped: list[str] = []
        self.empty: dict[Part, str] = {}

    def missing(self) -> list[Part]:
        return [part for part in self.wanted if part.needed and part not in self.places]

    def folder(self, root: Path) -> list[tuple[Path, PurePosixPath]]:
        """Fills in the places of parts that have none; returns the zips and the folders that they stand for."""
        candidates: dict[Part, list[Path]] = {}
        archives = []
        for path, is_folder in self._walk(root, _DEPTH):
            inside = PurePosixPath(one_form(path.relative_to(root).as_posix()))
            for part in self.wanted:
                if part in self.places or is_folder != (part.suffix is not None) or not part.ends(inside):
                    continue
                # ``train.zip`` may hold ``train/`` again, and the outer one only folders.
                if part.files(path):
                    candidates.setdefault(part, []).append(path)
                elif part.suffix is not None:
                    self.empty.setdefault(part, f"{inside} holds no {f'{part.suffix} file'.lstrip()}")
            if path.suffix.lower() == ".zip" and path.is_file():
                archives.append((path, inside.with_suffix("")))
        for part, paths in candidates.items():
            least = min(len(path.parts) for path in paths)
            nearest = [path for path in paths if len(path.parts) == least]
            if len(nearest) > 1:
                found = " and ".join(str(path.relative_to(root)) for path in nearest[:3])
                raise SegfoldError(f"{part.path} is there more than once ({found}): give the folder of one data set")
            self.places[part] = nearest[0]
        return archives

    def open(self, archive: Path, inside: PurePosixPath, root: Path) -> None:
        """Unpacks what is wanted of a zip below ``root``, in the folder of its name.

        So ``train.zip`` with ``images/`` in it holds ``train/images``.
        """

        def is_wanted(member: PurePosixPath) -> bool:
            if any(_hidden(step) for step in member.parts):
                return False
            path = inside / member
            return path.suffix.lower() == ".zip" or any(part.has(path) for part in self.wanted)

        try:
            unpack(archive, root / inside, is_wanted, self._name(archive, inside))
        except SegfoldError as error:
            self.skipped.append(str(error))

    def _name(self, archive: Path, inside: PurePosixPath) -> str:
        # A zip that lay in another one is unpacked to a place of ours, which says nothing to a user.
        if archive.is_relative_to(self.source):
            return str(archive)
        return f"{self.source}/{inside.with_name(archive.name)}"

    def _walk(self, folder: Path, depth: int) -> Iterator[tuple[Path, bool]]:
        """Files and folders below a folder, hidden ones left out."""
        try:
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not _hidden(entry.name)]
        except PermissionError as error:
            self.skipped.append(f"{folder}: {error.strerror}")
            return
        for entry in sorted(found, key=lambda entry: entry.name):
            is_folder = entry.is_dir()
            yield Path(entry.path), is_folder
            if is_folder and depth > 0:
                yield from self._walk(Path(entry.path), depth - 1)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
