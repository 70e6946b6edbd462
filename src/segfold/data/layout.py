"""Where a competition's files lie in what a user has: nested folders, zips, zips in zips."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segfold.competition import Competition
from segfold.data.archive import unpack
from segfold.data.cache import list_files
from segfold.data.table import shorten
from segfold.errors import SegfoldError

_DEPTH = 5  # folders below the source in which to look
_NESTING = 3  # zips in zips


@dataclass(frozen=True)
class Part:
    """A folder of files with a suffix, or (without one) a single file, at its path in the data folder."""

    path: str
    suffix: str | None
    needed: bool

    def ends(self, path: PurePosixPath) -> bool:
        """Whether `path` is this part somewhere below another folder."""
        own = PurePosixPath(self.path).parts
        return path.parts[-len(own) :] == own

    def has(self, file: PurePosixPath) -> bool:
        """Whether a file is this part or one of its files."""
        if self.suffix is None:
            return self.ends(file)
        return file.name.endswith(self.suffix) and self.ends(file.parent)


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


def named_files(competition: Competition, root: Path) -> set[str]:
    """Paths, relative to a data folder, of the files there that the competition names."""
    return {name for part in parts(competition) for name in _files(part, root / part.path)}


def find_files(competition: Competition, source: Path, scratch: Path) -> dict[str, Path]:
    """Finds a competition's files in a folder or a zip.

    Of several places the one that is nested least is taken. Zips are opened only while something needed is
    missing, and only for what the competition names.

    Args:
        competition: whose files.
        source: a folder, or a zip.
        scratch: where to unpack; made as needed.

    Returns:
        The place of each file by its path in the data folder.

    Raises:
        SegfoldError: something needed is not there, or is there twice, or an archive is bad.
    """
    if not source.exists():
        raise SegfoldError(f"no {source}: expected a folder or a zip with the data of {competition.title}")
    wanted = parts(competition)
    places: dict[Part, Path] = {}
    if source.is_dir():
        archives = _search(wanted, source, places)
    elif source.suffix.lower() == ".zip":
        archives = [(source, PurePosixPath(source.stem))]
    else:
        raise SegfoldError(f"{source} is neither a folder nor a zip: expected one with the data of {competition.title}")
    for level in range(_NESTING):
        if not archives or all(part in places for part in wanted if part.needed):
            break
        root = scratch / str(level)
        for archive, inside in archives:
            _open(archive, inside, root, wanted)
        archives = _search(wanted, root, places) if root.is_dir() else []
    missing = [part.path for part in wanted if part.needed and part not in places]
    if missing:
        raise SegfoldError(
            f"{source} has no {shorten(missing)}: expected the data of {competition.title} "
            "as Kaggle packs it, in a folder or a zip"
        )
    return {name: file for part, place in places.items() for name, file in _files(part, place).items()}


def _open(archive: Path, inside: PurePosixPath, root: Path, wanted: list[Part]) -> None:
    # A zip stands for the folder of its name: `train.zip` with `images/` in it holds `train/images`.
    def is_wanted(member: PurePosixPath) -> bool:
        if any(_hidden(step) for step in member.parts):
            return False
        path = inside / member
        return path.suffix.lower() == ".zip" or any(part.has(path) for part in wanted)

    unpack(archive, root / inside, is_wanted)


def _search(wanted: list[Part], root: Path, places: dict[Part, Path]) -> list[tuple[Path, PurePosixPath]]:
    """Fills in the places of parts that have none; returns the zips and the folders that they stand for."""
    candidates: dict[Part, list[Path]] = {}
    archives = []
    for path, is_folder in _walk(root, _DEPTH):
        inside = PurePosixPath(path.relative_to(root).as_posix())
        for part in wanted:
            if part not in places and is_folder == (part.suffix is not None) and part.ends(inside):
                candidates.setdefault(part, []).append(path)
        if not is_folder and path.suffix.lower() == ".zip":
            archives.append((path, inside.with_suffix("")))
    for part, paths in candidates.items():
        least = min(len(path.parts) for path in paths)
        nearest = [path for path in paths if len(path.parts) == least]
        if len(nearest) > 1:
            found = " and ".join(str(path.relative_to(root)) for path in nearest[:3])
            raise SegfoldError(f"{part.path} is there more than once ({found}): give the folder of one data set")
        places[part] = nearest[0]
    return archives


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, bool]]:
    """Files and folders below a folder, hidden ones left out."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not _hidden(entry.name)]
    for entry in sorted(found, key=lambda entry: entry.name):
        is_folder = entry.is_dir()
        yield Path(entry.path), is_folder
        if is_folder and depth > 0:
            yield from _walk(Path(entry.path), depth - 1)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _files(part: Part, place: Path) -> dict[str, Path]:
    """The files of a part that lies at `place`, by their paths in the data folder."""
    if part.suffix is None:
        return {part.path: place} if place.is_file() else {}
    if not place.is_dir():
        return {}
    names = sorted(f"{name}{part.suffix}" for name in list_files(place, part.suffix))
    return {f"{part.path}/{name}": place / name for name in names}
