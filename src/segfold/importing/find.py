"""Where a competition's files lie in what a user has: nested folders, zips, zips in zips."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.archive import unpack
from segfold.layouts.ids import one_form
from segfold.layouts.patterns import Pattern
from segfold.layouts.records import Part
from segfold.layouts.table import row_count, shorten

_DEPTH = 3  # folders below the source in which to look for the folder in which everything lies
_NESTING = 3  # zips in zips


def parts(competition: Competition) -> list[Part]:
    """What a competition's data consists of."""
    found = competition.layout.parts(competition.classes)
    tables = [table.file for table in competition.tables.values()]
    tables += [] if competition.groups is None else [competition.groups.file]
    tables += [] if competition.form.sample is None else [competition.form.sample]
    named = {part.pattern.text for part in found}
    found += [Part(Pattern(file), True) for file in dict.fromkeys(tables) if file not in named]
    if competition.solution is not None:
        found.append(Part(Pattern(competition.solution), False))
    return found


def named_files(competition: Competition, root: Path) -> dict[str, Path]:
    """The files of a data folder that the competition names, by their paths in it."""
    found = [part.files(part.place(root)) for part in parts(competition)]
    return competition.layout.used({name: file for files in found for name, file in files.items()})


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
            f"{shorten([part.label for part in missing])}: expected the data of {competition.title}"
            f"{'' if competition.slug is None else ' as Kaggle packs it'}, in a folder or a zip"
        )
    files = {name: file for part, place in search.places.items() for name, file in part.files(place).items()}
    return competition.layout.used(files), [f"skipped {reason}" for reason in search.skipped]


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
        lacking = [part for part in self.wanted if part.needed and part not in self.places]
        return [part for part in lacking if not self._is_spared(part)]

    def _is_spared(self, part: Part) -> bool:
        """Whether a table that was found says that nobody has this part."""
        tables = [place for other, place in self.places.items() if other.pattern.text == part.unless_empty]
        try:
            return any(row_count(table) == 0 for table in tables)
        except SegfoldError:  # which says what is wrong with it later
            return False

    def folder(self, root: Path) -> list[tuple[Path, PurePosixPath]]:
        """Fills in the places of parts that have none; returns the zips and the folders that they stand for."""
        candidates: dict[Part, list[Path]] = {}
        archives = []
        depth = _DEPTH + max(part.depth for part in self.wanted)
        for path, is_folder in [(root, True), *self._walk(root, depth)]:
            inside = PurePosixPath(one_form(path.relative_to(root).as_posix()))
            for part in self.wanted:
                if part in self.places or is_folder == part.is_file or not part.ends(inside):
                    continue
                # ``train.zip`` may hold ``train/`` again, and the outer one only folders.
                if part.files(path):
                    candidates.setdefault(part, []).append(path)
                elif not part.is_file and part.pattern.base:
                    self.empty.setdefault(part, f"{inside} holds no {f'{part.pattern.what} file'.lstrip()}")
            if path.suffix.lower() == ".zip" and path.is_file():
                archives.append((path, inside.with_suffix("")))
        for part, paths in candidates.items():
            least = min(len(path.parts) for path in paths)
            nearest = [path for path in paths if len(path.parts) == least]
            if len(nearest) > 1:
                found = " and ".join(str(path.relative_to(root)) for path in nearest[:3])
                raise SegfoldError(f"{part.label} is there more than once ({found}): give the folder of one data set")
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
            return path.suffix.lower() == ".zip" or any(part.pattern.has(path) for part in self.wanted)

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
