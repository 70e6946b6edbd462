"""What tables say of images: numbers, and groups."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from segfold.competition import Competition, ExtraTable
from segfold.errors import SegfoldError
from segfold.layouts.rows import group_column
from segfold.layouts.table import keyed, read_table, shorten


def groups_of(competition: Competition, root: Path, ids: np.ndarray) -> np.ndarray | None:
    """Names of the groups of some images, "" for an image in no group; None where the competition has none.

    Args:
        root: the data folder.
        ids: (N,) of the training images.

    Raises:
        SegfoldError: the table or column is missing, or lacks an image.
    """
    table = competition.layout.table
    if competition.group_pattern is not None:
        found = [re.search(competition.group_pattern, name) for name in ids]
        return np.array([(match[1] or "") if match else "" for match in found], dtype=object)
    if competition.groups is not None:
        path, column = _column(competition, competition.groups, root)
    elif competition.group_column is not None and table.file is not None:
        path = root / table.file
        column = group_column(path, table, competition.group_column, competition.classes)
    else:
        return None
    return _lookup(column, path, ids).to_numpy(dtype=object)


def numbers_of(
    competition: Competition, root: Path, ids: np.ndarray
) -> tuple[pd.DataFrame, dict[str, tuple[float, float]]]:
    """The numbers of some images in the competition's tables, and the smallest and largest of each table.

    Raises:
        SegfoldError: the table or column is missing, lacks an image, or holds something else than numbers.
    """
    columns, limits = {}, {}
    for name, table in competition.tables.items():
        path, column = _column(competition, table, root)
        text = _lookup(column, path, ids)
        numbers = pd.to_numeric(column, errors="coerce").astype(float)
        finite = numbers[np.isfinite(numbers)]
        values = numbers.loc[ids]
        if len(bad := values.index[~np.isfinite(values)]):
            named = shorten([f"{key} ({text[key]!r})" for key in bad])
            raise SegfoldError(f"{path}, column {table.column}: no number for {named}")
        columns[name] = values
        limits[name] = table.range or (float(finite.min()), float(finite.max()))
    index = pd.Index(ids, name=competition.layout.table.id_column, dtype=object)
    return pd.DataFrame(columns, index=index, dtype=float), limits


def _column(competition: Competition, table: ExtraTable, root: Path) -> tuple[Path, pd.Series]:
    """A table's file, and a whole column of it as text, indexed by id."""
    path = root / table.file
    id_column = table.id_column or competition.layout.table.id_column
    lines = read_table(path, [id_column, table.column])
    ids = keyed(lines[id_column], table.key)
    return path, pd.Series(lines[table.column].to_numpy(dtype=object), index=np.array(ids, dtype=object))


def _lookup(values: pd.Series, path: Path, ids: np.ndarray) -> pd.Series:
    missing = [name for name in ids if name not in values.index]
    if missing:
        raise SegfoldError(f"{path} has no line for {shorten(missing)}: every image needs one")
    return values.loc[ids]


def number_ranges(competition: Competition, root: Path) -> dict[str, tuple[float, float]]:
    """The smallest and the largest number of each of the competition's tables, by which networks see them scaled.

    Raises:
        SegfoldError: see ``numbers_of``.
    """
    return numbers_of(competition, root, np.array([], dtype=object))[1]
