"""The masks in a table of run lengths, read back."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.layouts.rle import decode_batch, decode_objects
from segfold.layouts.table import read_table
from segfold.resize import Shape
from segfold.submission.forms import Row, Table
from segfold.tasks import Mask

Texts = Mapping[Row, Sequence[str]]


def texts_of(path: Path, table: Table, ids: Sequence[str]) -> Texts:
    """The run lengths of each row; rows of other images are left out."""
    targets = {tuple(map(one_form, key)): row for key, row in table.targets(ids).items()}
    lines = read_table(
        path, [*table.key_columns, table.form.mask_column], unique=len(table.key_columns) == 1 and not table.by_object
    )
    found: dict[Row, list[str]] = defaultdict(list)
    for *key, text in lines.itertuples(index=False, name=None):
        row = targets.get(tuple(map(one_form, key)))
        if row is None:
            continue
        if row in found and not table.by_object:
            raise SegfoldError(f"{path} has {', '.join(key)} more than once: expected one line of it")
        found[row].append(table.plain(text))
    return found


def planes_of(ids: Sequence[str], shape: Shape, table: Table, texts: Texts) -> list[npt.NDArray[np.uint8]]:
    """N×H×W pixels of each class that has rows."""
    order, relative = table.form.order, table.form.relative
    if table.by_object:
        return [
            np.stack(
                [decode_objects(_filled(texts[Row(name, label)]), shape, order, relative) > 0 for name in ids]
            ).view(np.uint8)
            for label in table.task.rows
        ]
    return [
        decode_batch([texts[Row(name, label)][0] for name in ids], shape, order, relative) for label in table.task.rows
    ]


def _filled(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if text.strip()]


def masks_of(planes: Sequence[npt.NDArray[np.uint8]], table: Table) -> Iterator[Mask]:
    """The masks of images of which only some classes have rows."""
    every: list[npt.NDArray[np.uint8]] = [np.zeros_like(planes[0])] * len(table.task.classes)
    for label, plane in zip(table.task.rows, planes):
        every[label] = plane
    return (table.task.mask(np.stack(each)) for each in zip(*every))


def objects_of(name: str, shape: Shape, table: Table, texts: Texts) -> list[npt.NDArray[np.int32]]:
    """H×W numbers of the objects of an image, of each class by itself."""
    return [
        decode_objects(_filled(texts[Row(name, label)]), shape, table.form.order, table.form.relative)
        for label in table.task.rows
    ]
