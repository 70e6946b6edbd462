"""What is mounted on a host, read-only: a bundle, and a competition's images."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segfold.bundling.packing import MANIFEST
from segfold.competition import Competition, data_folder
from segfold.data.cache import CACHE_FOLDER
from segfold.data.source import find_source
from segfold.errors import SegfoldError
from segfold.layouts.base import Split

_DEPTH = 4  # folders below the mounted ones in which to look for a competition's data
_CODE = ("src", "wheels", "notebook")


def find_data(competition: Competition, split: Split, inputs: Path) -> Path | None:
    """The mounted folder that a split's images lie in as the competition's file says; None where there is none.

    A folder that is called as the competition is on Kaggle comes first, then those higher up.
    """
    for folder in _folders(competition, inputs):
        try:
            find_source(competition, split, folder)
        except SegfoldError:
            continue
        return folder
    return None


def find_sample(competition: Competition, inputs: Path) -> Path | None:
    """The mounted folder with the competition's sample submission; None where there is none."""
    sample = competition.form.sample
    folders = () if sample is None else _folders(competition, inputs)
    return next((folder for folder in folders if (folder / str(sample)).is_file()), None)


def _folders(competition: Competition, inputs: Path) -> list[Path]:
    names = (competition.slug, competition.name)
    return sorted(folders(inputs), key=lambda path: (path.name not in names, len(path.parts), path))


def folders(inputs: Path) -> list[Path]:
    """The mounted folder and those some levels below it, without those in bundles."""
    return sorted(_walk(inputs, _DEPTH))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those below it, without those of bundles."""
    yield folder
    if depth and not (folder / MANIFEST).is_file():
        for path in folder.iterdir():
            if path.is_dir():
                yield from _walk(path, depth - 1)


def lay_out(bundle: Path, home: Path) -> None:
    """Makes a working folder of a bundle: its files as links, in folders that can be written."""
    for path in sorted(bundle.rglob("*")):
        inside = path.relative_to(bundle)
        on_top = len(inside.parts) == 1 and inside.suffix != ".yaml"  # what describes the bundle
        if path.is_file() and not on_top and inside.parts[0] not in _CODE:
            place = home / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(path.resolve())


def link_data(competition: Competition, root: Path, home: Path, own: dict[str, bytes] | None = None) -> Path:
    """``data/<name>`` of a working folder, linked to a mounted folder.

    Args:
        own: files by path in it that are written instead of linked.
    """
    target = data_folder(competition, home)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        target.unlink()
    if not own:
        target.symlink_to(root.resolve(), target_is_directory=True)
        return target
    for name, content in own.items():
        place, there = target, root
        for part in Path(name).parts:
            place.mkdir(exist_ok=True)
            for path in there.iterdir():
                if path.name != part:
                    (place / path.name).symlink_to(path.resolve())
            place, there = place / part, there / part
        place.write_bytes(content)
    return target


@contextmanager
def caches_in(scratch: Path) -> Iterator[None]:
    """Decoded images go below a folder that is to be written, until this ends; what is mounted cannot be written."""
    before = os.environ.get(CACHE_FOLDER)
    os.environ[CACHE_FOLDER] = str((scratch / "cache").resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_FOLDER]
        else:
            os.environ[CACHE_FOLDER] = before
