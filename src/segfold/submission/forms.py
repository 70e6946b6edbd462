"""What a submission is made of: a table with a row for each image, class or object, or a picture for each image."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segfold.competition import Competition, data_folder
from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.layouts.rle import encode, encode_objects, problem
from segfold.layouts.table import read_table
from segfold.resize import Shape
from segfold.submission.pictures import picture, zipped
from segfold.tasks import Mask

Named = str | tuple[str, str]
"""What a sample submission names: an image by its id, or a row by its image's id and its class."""

Shapes = Mapping[str, Shape]
"""Height and width of images, by their ids as the sample submission spells them."""


class Row(NamedTuple):
    """What a row of a table is about.

    Attributes:
        image: the id.
        label: index of the class.
    """

    image: str
    label: int


class Encoded(NamedTuple):
    """A mask as it goes into a submission.

    Attributes:
        parts: the texts of each class, or the picture.
        empty: how many of the classes have no pixel.
    """

    parts: dict[int, list[str]] | bytes
    empty: int


class Table:
    """Rows of run lengths.

    Args:
        competition: what the rows are, their columns, and how masks are encoded.

    Raises:
        SegfoldError: rows that the competition's classes cannot have.
    """

    suffix = ".csv"
    """Of the file."""

    def __init__(self, competition: Competition) -> None:
        self.form, self.task = competition.form, competition.task
        form = self.form
        self.says_class = "{class}" in form.key or form.class_column is not None
        self.by_object = form.rows == "instance"
        if "{id}" not in form.key:
            raise SegfoldError(f"submission key {form.key!r} does not name the image: put {{id}} where its id goes")
        if not self.says_class and (form.rows == "class" or len(self.task.rows) > 1):
            raise SegfoldError(
                f"submission rows of {len(self.task.rows)} classes do not say which: put {{class}} into key ({form.key!r}), "
                "or name a class_column"
            )
        if form.rows == "image" and len(self.task.rows) > 1:
            raise SegfoldError(
                f"submission has rows: image, but the competition {len(self.task.rows)} classes: set rows: class"
            )

    @property
    def columns(self) -> list[str]:
        """Of the table, the mask's last."""
        return [*self.key_columns, self.form.mask_column]

    @property
    def key_columns(self) -> list[str]:
        """Those that say what a row is about."""
        return [self.form.id_column, *([] if self.form.class_column is None else [self.form.class_column])]

    def key(self, row: Row) -> tuple[str, ...]:
        """The fields of ``key_columns``."""
        name = self.task.classes[row.label]
        text = self.form.key.replace("{class}", name).replace("{id}", row.image)
        return (text,) if self.form.class_column is None else (text, name)

    def rows(self, ids: Iterable[str]) -> Iterator[Row]:
        """All rows of images, one of each class."""
        return (Row(image_id, label) for image_id in ids for label in self.task.rows)

    def targets(self, ids: Iterable[str]) -> dict[tuple[str, ...], Row]:
        """All rows of images by their keys."""
        return {self.key(row): row for row in self.rows(ids)}

    def parsed(self, key: Sequence[str]) -> tuple[str, str | None] | None:
        """Image and class that a key names, whatever the class; None where it has not the form of a key."""
        found = self._known.fullmatch(key[0]) or self._any.fullmatch(key[0])
        if found is None:
            return None
        inside = found.groupdict().get("class")
        return found["id"], inside if len(key) == 1 else key[1]

    @cached_property
    def _known(self) -> re.Pattern[str]:
        # A class may hold what stands between it and the id.
        return self._pattern("|".join(re.escape(name) for name in self.task.classes))

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return self._pattern(".+")

    def _pattern(self, classes: str) -> re.Pattern[str]:
        text = re.escape(self.form.key).replace(r"\{id\}", "(?P<id>.+)", 1).replace(r"\{id\}", "(?P=id)")
        text = text.replace(r"\{class\}", f"(?P<class>{classes})", 1).replace(r"\{class\}", "(?P=class)")
        return re.compile(text, re.DOTALL)

    def shape(self, image: Shape) -> Shape:
        """Of the masks of an image."""
        return self.form.size or image

    def encoded(self, mask: Mask) -> Encoded:
        """What a submission holds of a mask of the competition's task."""
        if self.form.size is not None and mask.shape != self.form.size:
            mask = self.task.resized(mask, self.form.size)
        planes = self.task.planes(mask)
        found = {label: self._texts(planes[label]) for label in self.task.rows}
        empty = sum(not texts for texts in found.values())
        return Encoded({label: texts or [self.form.empty] for label, texts in found.items()}, empty)

    def _texts(self, plane: np.ndarray) -> list[str]:
        """Of all rows of a class, none for an empty one."""
        if self.by_object:
            components = cv2.connectedComponents(np.ascontiguousarray(plane).view(np.uint8), connectivity=8)[1]
            return encode_objects(components, self.form.order, self.form.relative)
        text = encode(plane, self.form.order, self.form.relative)
        return [text] if text else []

    def content(self, order: Sequence[Named], encoded: Mapping[str, Encoded]) -> bytes:
        """The whole file; ``encoded`` is by id in the one Unicode form."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for named in order:
            for row in self.rows([named]) if isinstance(named, str) else [self._row(*named)]:
                parts = encoded[one_form(row.image)].parts
                assert isinstance(parts, dict)
                writer.writerows([*self.key(row), part] for part in parts[row.label])
        return text.getvalue().encode()

    def _row(self, image: str, name: str) -> Row:
        return Row(image, self.task.classes.index(name))

    def fault(self, text: str, shape: Shape) -> str | None:
        """What is wrong with the text of a mask H×W, in one line."""
        if text == self.form.empty:
            return None
        if self.form.empty and not text.strip():
            return f"blank, expected {self.form.empty!r} for a mask without a pixel"
        return problem(text, shape, self.form.relative)

    def plain(self, text: str) -> str:
        """The run lengths of a text without a fault, "" for an empty mask."""
        return "" if text == self.form.empty else text


class Pictures:
    """A zip of a palette PNG for each image, ``{id}.png``, whose indices are the classes; the palette is Pascal VOC's.

    Raises:
        SegfoldError: classes that do not exclude each other.
    """

    suffix = ".zip"
    """Of the file."""

    def __init__(self, competition: Competition) -> None:
        self.task = competition.task
        self.size = competition.form.size
        if not self.task.exclusive and len(self.task.classes) > 1:
            raise SegfoldError(
                f"submission form png has one class a pixel, but the classes of task {self.task.name} overlap: use form rle"
            )

    @property
    def count(self) -> int:
        """Values that a picture may have: from 0 to one less."""
        return max(2, len(self.task.classes))

    def encoded(self, mask: Mask) -> Encoded:
        """What a submission holds of a mask of the competition's task."""
        if self.size is not None and mask.shape != self.size:
            mask = self.task.resized(mask, self.size)
        present = self.task.planes(mask)[list(self.task.rows)].any(axis=(1, 2))
        return Encoded(picture(mask), int(np.count_nonzero(~present)))

    def content(self, order: Sequence[Named], encoded: Mapping[str, Encoded]) -> bytes:
        """The whole file; ``encoded`` is by id in the one Unicode form."""
        members = {}
        for image_id in image_ids(order):
            parts = encoded[one_form(image_id)].parts
            assert isinstance(parts, bytes)
            members[member_name(image_id)] = parts
        return zipped(members)


def form_of(competition: Competition) -> Table | Pictures:
    """How a competition's submission is written.

    Raises:
        SegfoldError: a form that its task cannot have.
    """
    return Pictures(competition) if competition.form.form == "png" else Table(competition)


def member_name(image_id: str) -> str:
    """Name of an image's picture in the zip."""
    return f"{image_id}.png"


def sample_order(competition: Competition, ids: Iterable[str], home: Path = Path()) -> list[Named]:
    """What a submission holds, in the order of the sample submission and as it spells ids.

    Args:
        ids: of the test set; they are taken where there is no sample, or one without a row.

    Returns:
        Ids; or (id, class), where there is a row for each class and the sample has them all.

    Raises:
        SegfoldError: the sample is missing, or has keys that are not this competition's.
    """
    if competition.form.sample is None:
        return [str(image_id) for image_id in ids]
    path = data_folder(competition, home) / competition.form.sample
    if competition.form.form == "png":
        return list(read_table(path, [competition.form.id_column], spelled=True)[competition.form.id_column])
    table = Table(competition)
    several = table.by_object or table.form.class_column is not None
    keys = read_table(path, table.key_columns, spelled=True, unique=not several)
    rows = [_sample_row(table, key, path) for key in keys.itertuples(index=False, name=None)]
    found = list(dict.fromkeys(image_id for image_id, _ in rows)) or [str(image_id) for image_id in ids]
    if table.form.rows != "class":
        return list(found)
    if doubled := len(rows) - len(set(rows)):
        raise SegfoldError(f"{path} has {doubled} rows twice: expected one row an image and class")
    return list(rows) if len(rows) == len(found) * len(table.task.rows) else list(found)


def _sample_row(table: Table, key: Sequence[str], path: Path) -> tuple[str, str]:
    parsed = table.parsed(key)
    if parsed is None:
        raise SegfoldError(
            f"{path} has the key {key[0]!r}: expected the form {table.form.key!r}; mend key in the competition file"
        )
    image_id, name = parsed
    names = [table.task.classes[label] for label in table.task.rows]
    name = names[0] if name is None else one_form(name)
    if name not in names:
        raise SegfoldError(f"{path}: {', '.join(key)!r} names no class; the classes are {', '.join(names)}")
    return image_id, name


def image_ids(order: Iterable[Named]) -> list[str]:
    """The ids that an order names, each once."""
    return list(dict.fromkeys(named if isinstance(named, str) else named[0] for named in order))
