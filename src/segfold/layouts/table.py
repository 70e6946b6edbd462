"""CSV tables of a competition, read as text: an id such as ``1e1000`` or ``00123`` stays what it is."""

import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.layouts.patterns import template


def read_table(path: Path, columns: Sequence[str], spelled: bool = False, unique: int = 1) -> pd.DataFrame:
    """Reads some columns of a CSV, every value as text and a blank field as "".

    Args:
        path: the file.
        columns: the columns to return, in this order; the first one is the id.
        spelled: leave the ids as the file spells them, rather than in the one Unicode form of all ids.
        unique: how many columns together are different in each row: the id alone, 2 for the id and the next column, 0
            for none.

    Raises:
        SegfoldError: the file or a column is missing, an id is doubled or blank, or the file is no CSV.
    """
    table = _read(path)
    names = [_plain(column) for column in columns]
    found = ", ".join(str(column)[:30] for column in table.columns[:8])
    if missing := [name for name in names if name not in table.columns]:
        raise SegfoldError(f"{path} has no column {', '.join(missing)}: its first line reads {found!r}")
    if several := [name for name in names if list(table.columns).count(name) > 1]:
        raise SegfoldError(f"{path} has column {several[0]} more than once: its first line reads {found!r}")
    table = table[names].set_axis(list(columns), axis=1)
    ids = table[columns[0]].map(one_form)
    keys = ids if unique < 2 else ids.str.cat(table[list(columns[1:unique])], sep=", ")
    doubled = keys[keys.duplicated()].unique() if unique else ()
    if len(doubled):
        shown, key = shorten([str(name) for name in doubled]), " and ".join(columns[:unique])
        raise SegfoldError(f"{path} has {key} {shown} more than once: expected one line an {key}")
    if (ids == "").any():
        raise SegfoldError(f"{path} has a line with a blank {columns[0]}: remove it")
    return table if spelled else table.assign(**{columns[0]: ids})


def row_count(path: Path) -> int:
    """How many rows a CSV has below its first line. Errors as ``read_table``."""
    return len(_fields(path)) - 1


def _read(path: Path) -> pd.DataFrame:
    """All of a CSV under the names of its first line, blanks around them left out."""
    table = _fields(path)
    if any(name.startswith(" ") for name in table.iloc[0]):
        # In ``id, rle_mask`` blanks go before every field, and before its quotes.
        table = _fields(path, blanks=True)
    names = [_plain(name) for name in table.iloc[0]]
    return table.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)


def _plain(name: str) -> str:
    return one_form(name.strip())


def _fields(path: Path, blanks: bool = False) -> pd.DataFrame:
    """All fields of a CSV as text, its first line among them; ``blanks`` before a field may be no part of it."""
    try:
        with warnings.catch_warnings():
            # Without ``index_col=False`` pandas takes the first column of too long lines for an index,
            # with it the surplus is dropped with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                header=None,
                dtype=str,
                keep_default_na=False,
                na_filter=False,
                index_col=False,
                encoding="utf-8-sig",
                skipinitialspace=blanks,
            )
    except FileNotFoundError as error:
        raise SegfoldError(f"no table {path}: expected a CSV file there") from error
    except pd.errors.EmptyDataError as error:
        raise SegfoldError(f"{path} is empty: expected a CSV with a header line") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
        raise SegfoldError(f"{path} is not a CSV in UTF-8: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error
    # A line with too few fields: what is missing is blank, as in ``id,`` with nothing after the comma.
    return table.fillna("")


def keyed(values: Iterable[str], key: str) -> list[str]:
    """The ids that the texts of an id column name; a text that is not of the key's form stays as it is.

    Args:
        key: ``{id}`` with what stands around it.
    """
    if key == "{id}":
        return list(values)
    form = template(key)
    return [text if (match := form.fullmatch(text)) is None else match["id"] for text in values]


def with_suffix(ids: Iterable[str], images: Collection[str], suffix: str) -> list[str]:
    """The ids that only the suffix of the files keeps from being those of images."""
    return [name for name in ids if suffix and name.endswith(suffix) and name.removesuffix(suffix) in images]


def shorten(names: Sequence[str], most: int = 10, separator: str = ", ") -> str:
    """The first names, and how many there are when they are more."""
    text = separator.join(names[:most])
    return text if len(names) <= most else f"{text}{separator}… ({len(names)} in all)"
