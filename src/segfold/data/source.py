"""The files that a split is made of, and whether they are those that a cache was made from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.base import Split
from segfold.layouts.decode import palette_of
from segfold.layouts.masks import Masks, masks_of_files, masks_of_rows
from segfold.layouts.patterns import Match
from segfold.layouts.records import Listing, Record
from segfold.layouts.rows import Row, read_rows
from segfold.layouts.table import shorten

VERSION = 2  # of the files' layout and of what is taken for a sound image; raise it when either changes


@dataclass(frozen=True)
class Source:
    """The files that a split is made of.

    Attributes:
        competition: whose split it is.
        root: the data folder.
        split: its name.
        listing: its images and their files.
        key: changes with what the cache is made of.
    """

    competition: Competition
    root: Path
    split: Split
    listing: Listing
    key: str

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.listing.records)

    @property
    def table(self) -> Path | None:
        """The table that the masks are read from; None where they are files, and of a test set."""
        file = self.competition.layout.table.file
        return None if self.split == "test" or self.listing.masks or file is None else self.root / file


def find_source(competition: Competition, split: Split, root: Path) -> Source:
    """Lists a split's files in the data folder ``root``.

    Raises:
        SegfoldError: a folder is missing or empty, images have no mask file, or there is no such split.
    """
    layout = competition.layout
    listing = layout.listing(split, root, competition.classes)
    if listing.absent:
        raise SegfoldError(
            f"{competition.title} has no {split} images in {root}: expected some for this; import them, or leave it"
        )
    if listing.problems:
        raise SegfoldError(shorten([f"{root}/{problem}" for problem in listing.problems], 3, "; "))
    if not listing.records:
        raise SegfoldError(
            f"no {listing.what} images in {root / listing.folder}: import the data anew with `make data`"
        )
    if listing.missing:
        paths = [PurePosixPath(path) for path in listing.missing.values()]
        above = {path.parent for path in paths}
        folder = above.pop() if len(above) == 1 else PurePosixPath()
        missing = shorten([path.relative_to(folder).as_posix() for path in paths])
        raise SegfoldError(f"no mask in {root / folder} for {missing}: every train image needs one")
    source = Source(competition, root, split, listing, "")
    return replace(source, key=hashlib.sha256(json.dumps(_states(source)).encode()).hexdigest()[:16])


def _states(source: Source) -> list[Any]:
    """What the key of a cache is made of: files, and how they are read."""
    competition, records = source.competition, source.listing.records.values()
    layout = competition.layout
    given = dict(competition.model_extra or {})
    states: list[Any] = [
        [VERSION, layout.table.order, given.pop("image_suffix", ".png"), given.pop("mask_suffix", ".png")],
        [competition.exif, competition.white],
        [(record.id, _state(record.images)) for record in records],
    ]
    if source.listing.masks:
        states.append([(record.id, _state(record.masks)) for record in records])
        states.append([competition.mask_threshold, palette_of(competition)])
    elif source.table is not None and source.table.is_file():
        status, table = source.table.stat(), layout.table
        states.append([table.id_column, table.mask_column, status.st_size, status.st_mtime_ns])
    # Caches of sets that say nothing of the following have been made before there was any of it.
    if len((task := competition.task).classes) > 1:  # of one class all tasks have the same masks
        states.append([task.name, task.classes, task.background])
    later = {name: getattr(competition, name) for name in ("frame", "values", "mask_colours", "void")}
    plain = {name for name, value in given.items() if name in _PLAIN and "{" not in str(value)}
    later |= {name: value for name, value in given.items() if name not in plain}
    if competition.layout_name != "kaggle-rle":
        later["layout"] = competition.layout_name
    if any(value is not None for value in later.values()):
        states.append(sorted(later.items()))
    if source.listing.instances:
        states.append([record.objects and record.objects.state for record in records])
    return states


_PLAIN = (
    "train_images",
    "train_masks",
    "test_images",
    "train_table",
    "sample_submission",
    "id_column",
    "mask_column",
    "rle_order",
)
"""Options that the key has elsewhere, or that only name the files whose state is in it."""


def _state(files: Sequence[Match]) -> Any:
    return files[0].state if len(files) == 1 else [(file.name, *file.state) for file in files]


def table_rows(source: Source) -> dict[str, list[Row]]:
    """The rows of each id, where masks come from the train table.

    Raises:
        SegfoldError: as ``read_rows``, and images that have none though they need one.
    """
    if source.table is None:
        return {}
    layout = source.competition.layout
    rows = read_rows(source.table, layout.table, source.competition.classes)
    missing = [name for name in source.ids if name not in rows] if layout.unlisted == "refuse" else []
    if missing:
        raise SegfoldError(
            f"no mask in {source.table} for image {shorten(missing)}: every train image needs a line there, "
            "or a mask file; set unlisted: empty in the competition file if those without one have nothing to find"
        )
    return rows


def masks_of(source: Source, record: Record, rows: Mapping[str, list[Row]], shape: tuple[int, int]) -> Masks:
    """The masks of an image of size ``shape``; errors as ``masks_of_files`` and ``masks_of_rows``."""
    competition = source.competition
    if source.table is None:
        return masks_of_files(competition, record, shape, source.listing.instances)
    table = competition.layout.table
    return masks_of_rows(competition, rows.get(record.id, ()), table, shape, f"{source.table}: {record.id}")
