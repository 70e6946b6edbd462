"""Everything that is wrong with a competition's data folder, found at once and said by file name."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from segfold.competition import Competition, data_folder
from segfold.data.cache import decode_text, list_files, mask_source, size
from segfold.data.images import missing_data
from segfold.errors import SegfoldError, one_line
from segfold.layouts.decode import OrientationError, image_of, map_files, mask_of
from segfold.layouts.ids import file_of
from segfold.layouts.kinds import Kind, common_kind, kind_of
from segfold.layouts.mask_files import why_different
from segfold.layouts.table import read_table, shorten, with_suffix


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
    check.extra_tables()
    return [one_line(problem) for problem in check.problems]


class _Check:
    """One pass over a data folder, collecting what it finds."""

    def __init__(self, competition: Competition, root: Path) -> None:
        self.competition = competition
        self.root = root
        self.problems: list[str] = []
        self.ids: dict[str, None] = {}  # of both splits, in order
        self.kinds: dict[str, dict[str, Kind]] = {}  # of each image file that decodes, by folder

    def train(self) -> None:
        competition = self.competition
        groups = [] if competition.group_column is None else [competition.group_column]
        table = self._table(competition.train_table, [competition.mask_column, *groups])
        images = self._files(competition.train_images, competition.image_suffix)
        if images is None:
            return
        self._same_ids(competition.train_table, table, competition.train_images, images)
        masks: Path | None = None
        if (source := mask_source(competition, self.root)).is_dir():
            masks = source
            folder = str(competition.train_masks)
            found = set(self._files(folder, competition.mask_suffix) or ())
            for name in sorted(found - set(images)):
                self.problems.append(f"{folder}/{name}{competition.mask_suffix}: no image with this id")
            for name in sorted(set(images) - found):
                self.problems.append(f"{folder}/{name}{competition.mask_suffix}: missing, its image is there")
        texts = {} if table is None else dict(zip(table[competition.id_column], table[competition.mask_column]))

        def check(name: str) -> list[str]:
            return self._train_image(name, masks, texts.get(name))

        self._each(check, images)

    def test(self) -> None:
        competition = self.competition
        table = self._table(competition.sample_submission, [competition.mask_column])
        images = self._files(competition.test_images, competition.image_suffix)
        if images is None:
            return
        self._same_ids(competition.sample_submission, table, competition.test_images, images)

        def check(name: str) -> list[str]:
            found = self._image(competition.test_images, name)
            return [self._relative(found)] if isinstance(found, SegfoldError) else []

        self._each(check, images)

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

    def extra_tables(self) -> None:
        for table in self.competition.tables.values():
            lines = self._table(table.file, [table.column])
            if lines is None:
                continue
            values = pd.to_numeric(lines[table.column], errors="coerce")
            numbers = dict(zip(lines[self.competition.id_column], values))
            if carried := with_suffix(set(numbers) - set(self.ids), self.ids, self.competition.image_suffix):
                self.problems.append(self._suffix_hint(table.file, sorted(carried)))
                continue
            for name in self.ids:
                if name not in numbers:
                    self.problems.append(f"{table.file}: no line for {name}")
                elif not np.isfinite(numbers[name]):
                    self.problems.append(f"{table.file}: {name} has no number in column {table.column}")

    def _train_image(self, name: str, masks: Path | None, text: str | None) -> list[str]:
        competition = self.competition
        image = self._image(competition.train_images, name)
        path = None if masks is None else file_of(masks, name, competition.mask_suffix)
        if isinstance(image, SegfoldError):
            return [self._relative(image) + self._fitting(image, path)]
        problems = []
        mask = decoded = None
        if path is not None and path.is_file():
            try:
                mask = mask_of(competition, path)
                if mask.shape != image.shape[:2]:
                    file = f"{competition.train_masks}/{path.name}"
                    problems.append(f"{file}: {size(mask.shape)}, its image is {size(image.shape)}")
                    mask = None
            except SegfoldError as error:
                problems.append(self._relative(error))
        if text is not None:
            try:
                height, width = image.shape[:2]
                decoded = decode_text(text, (height, width), competition, f"{competition.train_table}: {name}")
            except SegfoldError as error:
                problems.append(str(error))
        if path is not None and mask is not None and decoded is not None and (wrong := int((mask != decoded).sum())):
            file = f"{competition.train_masks}/{path.name}"
            reason = why_different(path, decoded, competition)
            problems.append(f"{file}: differs from its RLE in {competition.train_table} at {wrong} pixels; {reason}")
        return problems

    def _fitting(self, error: SegfoldError, mask: Path | None) -> str:
        """Which way of reading an image that is to be turned its mask file speaks for."""
        if not isinstance(error, OrientationError) or error.stored == error.turned or mask is None:
            return ""
        try:
            shape = mask_of(self.competition, mask).shape
        except SegfoldError:
            return ""
        fits = {error.stored: "ignore", error.turned: "turn"}.get((shape[0], shape[1]))
        return "" if fits is None else f" (its mask is {size(shape)}, which is exif: {fits})"

    def _image(self, folder: str, name: str) -> np.ndarray | SegfoldError:
        file = f"{folder}/{name}{self.competition.image_suffix}"
        try:
            image = image_of(self.competition, file_of(self.root / folder, name, self.competition.image_suffix))
        except SegfoldError as error:
            return error
        self.kinds.setdefault(folder, {})[file] = kind_of(image)
        return image

    def _each(self, check: Callable[[str], list[str]], ids: Iterable[str]) -> None:
        for found in map_files(check, ids):
            self.problems.extend(found)

    def _files(self, folder: str, suffix: str) -> list[str] | None:
        try:
            found = sorted(list_files(self.root / folder, suffix))
        except SegfoldError as error:
            there = (self.root / folder).is_dir()
            self.problems.append(self._relative(error) if there else f"{folder}: no such folder")
            return None
        if not found:
            self.problems.append(f"{folder}: no {suffix} files")
            return None
        if folder != self.competition.train_masks:
            self.ids.update(dict.fromkeys(found))
        return found

    def _table(self, file: str, columns: list[str]) -> pd.DataFrame | None:
        try:
            return read_table(self.root / file, [self.competition.id_column, *columns])
        except SegfoldError as error:
            self.problems.append(self._relative(error))
            return None

    def _same_ids(self, file: str, table: pd.DataFrame | None, folder: str, images: list[str]) -> None:
        if table is None:
            return
        lines, files = set(table[self.competition.id_column]), set(images)
        suffix = self.competition.image_suffix
        if carried := with_suffix(sorted(lines - files), files, suffix):
            self.problems.append(self._suffix_hint(file, carried))
            files -= {name.removesuffix(suffix) for name in carried}
            lines -= set(carried)
        self.problems += [f"{folder}/{name}{suffix}: no line in {file}" for name in sorted(files - lines)]
        self.problems += [f"{folder}/{name}{suffix}: missing, {file} has it" for name in sorted(lines - files)]

    def _suffix_hint(self, file: str, ids: list[str]) -> str:
        return (
            f"{file}: {shorten(ids, 3)}: ids with the suffix {self.competition.image_suffix}, which segfold takes off the "
            "files' names; set image_suffix: '' (and mask_suffix: '', or train_masks: null) in the competition file "
            "if all tables have it, else take it off here"
        )

    def _relative(self, error: SegfoldError) -> str:
        return str(error).replace(f"{self.root}/", "")
