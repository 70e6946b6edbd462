"""The rows of a table of masks: whose they are, and what they hold."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from segfold.errors import SegfoldError, shown
from segfold.layouts.base import Table
from segfold.layouts.ids import one_form
from segfold.layouts.patterns import template
from segfold.layouts.table import read_table, shorten


class Row(NamedTuple):
    """A mask: index of its class, and its run lengths."""

    label: int
    text: str


def read_rows(path: Path, table: Table, classes: Sequence[str]) -> dict[str, list[Row]]:
    """The masks of each id of a table, in the order of its rows.

    Args:
        path: the file.
        table: its columns.
        classes: C names.

    Returns:
        Rows by id. An id without any mask has none: what stands for an empty mask is no row.

    Raises:
        SegfoldError: the file or a column is missing, a row is doubled, or names no class.
    """
    lines = _lines(path, table, classes)
    empty = {"", table.empty.strip()}
    if not _names_class(table) and table.row == "image":
        return {
            name: [] if text in empty else [Row(0, text)]
            for name, text in zip(lines[table.id_column], lines[table.mask_column])
        }
    found: dict[str, list[Row]] = {}
    for (name, label), text in zip(_keys(lines, table, classes, path), lines[table.mask_column]):
        rows = found.setdefault(name, [])
        if text.strip() not in empty:
            rows.append(Row(label, text))
    return found


def row_ids(path: Path, table: Table, classes: Sequence[str]) -> set[str]:
    """The ids that a table has a row of. Errors as ``read_rows``."""
    return {name for name, _ in _keys(_lines(path, table, classes), table, classes, path)}


def group_column(path: Path, table: Table, column: str, classes: Sequence[str]) -> pd.Series:
    """The group of each id, indexed by id, from the rows of its masks.

    Raises:
        SegfoldError: as ``read_rows``, and an id whose rows name several groups.
    """
    lines = read_table(
        path, [table.id_column, *([] if table.class_column is None else [table.class_column]), column], unique=0
    )
    names = [name for name, _ in _keys(lines, table, classes, path)]
    groups = pd.Series(lines[column].to_numpy(dtype=object), index=np.array(names, dtype=object))
    pairs = pd.DataFrame({"id": names, "group": groups.to_numpy()}).drop_duplicates()
    if len(several := pairs["id"][pairs["id"].duplicated()]):
        raise SegfoldError(f"{path}: {shorten(list(several), 3)} has rows of several {column}: an image is of one")
    return groups[~groups.index.duplicated()]


def _names_class(table: Table) -> bool:
    return table.class_column is not None or table.key != "{id}"


def _lines(path: Path, table: Table, classes: Sequence[str]) -> pd.DataFrame:
    if len(classes) > 1 and table.class_column is None and "{class}" not in table.key:
        raise SegfoldError(
            f"{path} has rows of {len(classes)} classes: set class_column, or key with {{class}} in it, in the competition file"
        )
    columns = [table.id_column, *([] if table.class_column is None else [table.class_column]), table.mask_column]
    return read_table(path, columns, unique=0 if table.row == "instance" else len(columns) - 1)


def _keys(lines: pd.DataFrame, table: Table, classes: Sequence[str], path: Path) -> list[tuple[str, int]]:
    """Id and class of each row."""
    labels = {one_form(name): index for index, name in enumerate(classes)}
    texts = lines[table.id_column]
    if table.key == "{id}":
        names, named = list(texts), [classes[0]] * len(texts)
    else:
        form = template(table.key, classes)
        matches = [form.fullmatch(text) for text in texts]
        if None in matches:
            bad = [text for text, match in zip(texts, matches) if match is None]
            wanted = f" with a class of {shorten(classes)}" if "{class}" in table.key else ""
            raise SegfoldError(
                f"{path}, column {table.id_column}: {shorten(bad, 3)}: expected {table.key}{wanted}; "
                "correct the table, or key in the competition file"
            )
        fields = [match.groupdict() for match in matches if match is not None]
        names, named = [each["id"] for each in fields], [each.get("class", classes[0]) for each in fields]
    if table.class_column is not None:
        named = [one_form(text.strip()) for text in lines[table.class_column]]
        if unknown := sorted(set(named) - labels.keys()):
            raise SegfoldError(
                f"{path}, column {table.class_column}: {', '.join(map(shown, unknown[:3]))}: expected a class of "
                f"{shorten(classes)}; correct the table, or classes in the competition file"
            )
    return [(name, labels[each]) for name, each in zip(names, named)]
