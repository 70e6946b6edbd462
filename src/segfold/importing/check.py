"""Everything that is wrong with a competition's data folder, found at once and said by file name."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from segfold.competition import Competition, ExtraTable, data_folder
from segfold.data.images import missing_data
from segfold.errors import SegfoldError, one_line
from segfold.layouts.ahead import map_files
from segfold.layouts.base import Split, Table
from segfold.layouts.decode import OrientationError, image_of, mask_values
from segfold.layouts.kinds import Kind, Seen, common_kind
from segfold.layouts.large import large_image
from segfold.layouts.mask_files import why_different
from segfold.layouts.masks import MaskSizeError, masks_of_files, masks_of_rows, size
from segfold.layouts.records import Listing, Record
from segfold.layouts.rows import Row, group_column, read_rows, row_ids
from segfold.layouts.table import keyed, read_table, shorten, with_suffix

Result = TypeVar("Result")


def data_problems(competition: Competition, home: Path = Path()) -> list[str]:
    """Checks that images and masks decode and agree in size, that the ids of tables, masks and images are the
    same, that mask files equal the RLEs, and that all images have the same channels and bits.

    Returns:
        One line a problem, file first, relative to the data folder; an empty list for sound data.
    """
    return folder_problems(competition, data_folder(competition, home))


def folder_problems(competition: Competition, root: Path) -> list[str]:
    """``data_problems`` of a folder anywhere."""
    if not root.is_dir():
        return [missing_data(root)]
    check = _Check(competition, root)
    check.train()
    check.test()
    check.kinds_agree()
    check.other_tables()
    return [one_line(problem) for problem in dict.fromkeys(check.problems)]


class _Check:
    """One pass over a data folder, collecting what it finds."""

    def __init__(self, competition: Competition, root: Path) -> None:
        self.competition, self.layout = competition, competition.layout
        self.root = root
        self.problems: list[str] = []
        self.ids: dict[Split, list[str]] = {}
        self.kinds: dict[str, dict[str, Kind]] = {}  # of each image that decodes, by what its folder is called

    def train(self) -> None:
        table, classes = self.layout.table, self.competition.classes
        rows: dict[str, list[Row]] | None = None
        if table.file is not None:
            path, column = self.root / table.file, self.competition.group_column
            rows = self._tried(lambda: read_rows(path, table, classes))
            if column is not None:
                self._tried(lambda: group_column(path, table, column, classes))
        listing = self._listing("train")
        if listing is None:
            return
        if rows is not None:
            needed = {name for name, record in listing.records.items() if not (record.held_out and record.masks)}
            lacking = needed - rows.keys() if self.layout.unlisted == "refuse" else set()
            self._same_ids(str(table.file), set(rows), listing, lacking, "train")
        self.problems += [f"{path}: no image with this id" for path in listing.stray]
        self.problems += [f"{path}: missing, its image is there" for path in listing.missing.values()]

        def check(record: Record) -> list[str]:
            return self._train_image(record, listing, None if rows is None else rows.get(record.id))

        self._each(map_files(check, listing.records.values()))

    def test(self) -> None:
        form, ids = self.competition.form, None
        if form.sample is not None:
            table = Table(
                form.sample, form.id_column, form.mask_column, form.class_column, form.key, form.rows, form.empty
            )
            ids = self._tried(lambda: row_ids(self.root / str(form.sample), table, self.competition.classes))
        listing = self._listing("test")
        if listing is None:
            return
        if ids is not None:
            self._same_ids(str(form.sample), ids, listing, listing.records.keys() - ids, "test")

        def check(record: Record) -> list[str]:
            found = self._image(listing, record)
            return [self._relative(found)] if isinstance(found, SegfoldError) else []

        self._each(map_files(check, listing.records.values()))

    def kinds_agree(self) -> None:
        """A network has one number of input channels."""
        found = {}
        for folder, kinds in self.kinds.items():
            common = common_kind(dict(sorted(kinds.items())))  # threads have filled it
            self.problems += [f"{file}: {reason}" for file, reason in common.problems.items()]
            found[folder] = str(common)
        if len(set(found.values())) > 1:
            each = ", ".join(f"{folder}: {what}" for folder, what in found.items())
            self.problems.append(f"{each}: expected the same channels and bits in both")

    def other_tables(self) -> None:
        everything = [name for ids in self.ids.values() for name in ids]
        for table in self.competition.tables.values():
            self._lines_for(table, everything, numbers=True)
        if self.competition.groups is not None:
            self._lines_for(self.competition.groups, self.ids.get("train", []), numbers=False)

    def _lines_for(self, table: ExtraTable, ids: list[str], numbers: bool) -> None:
        """Looks for a line for each image, with a number on it."""
        id_column = table.id_column or self.layout.table.id_column
        lines = self._tried(lambda: read_table(self.root / table.file, [id_column, table.column]))
        if lines is None:
            return
        found = dict(zip(keyed(lines[id_column], table.key), pd.to_numeric(lines[table.column], errors="coerce")))
        if carried := self._with_suffix("train", found.keys() - set(ids), ids):
            self.problems.append(self._suffix_hint(table.file, carried, "train"))
            return
        for name in ids:
            if name not in found:
                self.problems.append(f"{table.file}: no line for {name}")
            elif numbers and not np.isfinite(found[name]):
                self.problems.append(f"{table.file}: {name} has no number in column {table.column}")

    def _train_image(self, record: Record, listing: Listing, rows: list[Row] | None) -> list[str]:
        competition, table = self.competition, self.layout.table
        shape = self._image(listing, record)
        if isinstance(shape, SegfoldError):
            return [self._relative(shape) + self._fitting(shape, record)]
        problems = []
        mask = decoded = None
        if listing.masks and record.id not in listing.missing:
            try:
                mask = masks_of_files(competition, record, shape, listing.instances).mask
            except MaskSizeError as error:
                problems.append(f"{self._relative(error.path)}: {error.sizes}")
            except SegfoldError as error:
                problems.append(self._relative(error))
        if rows is not None:
            try:
                decoded = masks_of_rows(competition, rows, table, shape, f"{table.file}: {record.id}").mask
            except SegfoldError as error:
                problems.append(str(error))
        if mask is not None and decoded is not None and record.masks and (wrong := int((mask != decoded).sum())):
            file = record.masks[0]
            alone = len(record.masks) == 1 and len(competition.classes) == 1
            reason = f"; {why_different(file.path, decoded, competition)}" if alone else ""
            problems.append(f"{file.name}: differs from its RLE in {table.file} at {wrong} pixels{reason}")
        return problems

    def _fitting(self, error: SegfoldError, record: Record) -> str:
        """Which way of reading an image that is to be turned its mask file speaks for."""
        if not isinstance(error, OrientationError) or error.stored == error.turned or not record.masks:
            return ""
        try:
            shape = mask_values(record.masks[0].path, exif=self.competition.exif).shape
        except SegfoldError:
            return ""
        fits = {error.stored: "ignore", error.turned: "turn"}.get((shape[0], shape[1]))
        return "" if fits is None else f" (its mask is {size(shape)}, which is exif: {fits})"

    def _image(self, listing: Listing, record: Record) -> tuple[int, int] | SegfoldError:
        """Height and width of an image, of which all has been read."""
        paths, seen = [match.path for match in record.images], Seen()
        try:
            large = large_image(self.competition, paths)
            if large is None:
                seen.add(image_of(self.competition, paths))
            else:
                for band in large.bands():  # this runs on several threads already
                    seen.add(large.window(*band))
        except SegfoldError as error:
            return error
        self.kinds.setdefault(listing.label, {})[record.images[0].name] = seen.kind
        return seen.size

    def _each(self, results: Iterable[list[str]]) -> None:
        for found in results:
            self.problems.extend(found)

    def _listing(self, split: Split) -> Listing | None:
        """The files of a split; None of one in which there is nothing to check."""
        try:
            listing = self.layout.listing(split, self.root, self.competition.classes)
        except SegfoldError as error:
            text = self._relative(error)
            missing = text.partition(": import")[0].removeprefix("no folder ")
            self.problems.append(f"{missing}: no such folder" if text.startswith("no folder ") else text)
            return None
        self.problems += listing.problems
        if not listing.records:
            if not listing.absent and not listing.problems:
                self.problems.append(f"{listing.folder or '.'}: no {listing.what} files")
            return None
        self.ids[split] = list(listing.records)
        return listing

    def _tried(self, read: Callable[[], Result]) -> Result | None:
        try:
            return read()
        except SegfoldError as error:
            self.problems.append(self._relative(error))
            return None

    def _same_ids(self, file: str, lines: set[str], listing: Listing, lacking: set[str], split: Split) -> None:
        """Compares the ids of a table with those of the images, of which some are expected to be in it."""
        strange = lines - listing.records.keys() - listing.elsewhere
        if carried := self._with_suffix(split, strange, listing.records):
            self.problems.append(self._suffix_hint(file, carried, split))
            suffix = self._suffix(split)
            lacking = lacking - {name.removesuffix(suffix) for name in carried}
            strange -= set(carried)
        path = self.layout.image_path
        self.problems += [f"{listing.records[name].images[0].name}: no line in {file}" for name in sorted(lacking)]
        self.problems += [f"{path(split, name)}: missing, {file} has it" for name in sorted(strange)]

    def _suffix(self, split: Split) -> str:
        return Path(self.layout.image_path(split, "x")).suffix

    def _with_suffix(self, split: Split, ids: Iterable[str], images: Iterable[str]) -> list[str]:
        return with_suffix(sorted(ids), set(images), self._suffix(split))

    def _suffix_hint(self, file: str, ids: list[str], split: Split) -> str:
        return (
            f"{file}: {shorten(ids, 3)}: ids with the suffix {self._suffix(split)}, which segfold takes off the "
            "files' names; set image_suffix: '' (and mask_suffix: '', or train_masks: null) in the competition file if all "
            f"tables have it, key: '{{id}}{self._suffix(split)}' where one has it, else take it off here"
        )

    def _relative(self, error: object) -> str:
        return str(error).replace(f"{self.root}/", "")
