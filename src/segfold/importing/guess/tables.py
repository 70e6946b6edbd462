"""What a CSV file holds: which column names images, and how; run lengths, classes, splits, groups, numbers."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from segfold.errors import SegfoldError, one_line
from segfold.importing.guess.words import common_front, split_of, words
from segfold.layouts.ids import one_form

_MOST_BYTES = 300_000_000
_PAIR = re.compile(r"\s*[0-9]+[ \t]+[0-9]+(?:[ \t]+[0-9]+[ \t]+[0-9]+){0,20}(?:\s*$|[ \t]+[0-9])")
_SOME = 500  # cells that say what a column is
_MOST_CLASSES = 60
_GROUPS = (
    *("patient", "subject", "case", "group", "site", "source", "slide", "car", "scene", "video", "sequence", "series"),
    *("study", "batch", "well", "farm"),
)
_CLASSES = ("class", "classid", "label", "category", "type", "kind")


@dataclass
class Table:
    """A CSV file.

    Attributes:
        name: its path.
        rows: all its cells as text.
        whole: whether these are all of its rows.
    """

    name: str
    rows: pd.DataFrame
    whole: bool = True

    @property
    def columns(self) -> list[str]:
        return [str(column) for column in self.rows.columns]

    @cached_property
    def runs(self) -> str | None:
        """The column of run lengths."""
        shares = {column: _runs_share(self.rows[column]) for column in self.columns}
        best = max(shares, key=lambda column: shares[column], default=None)
        return best if best is not None and shares[best] > 0.5 else None

    @property
    def is_sample(self) -> bool:
        """Whether it is called a sample submission."""
        return bool({"sample", "submission", "samplesubmission"} & set(words(self.name.rsplit("/")[-1])))

    def cells(self) -> Iterable[str]:
        """Its short texts: ids are among them."""
        for column in self.columns:
            if column != self.runs:
                yield from (text for text in self.rows[column].unique() if 0 < len(text) < 200)


def read_all(files: Mapping[str, Path]) -> tuple[list[Table], list[str]]:
    """The tables of CSV files by their paths, and a line for each that cannot be read."""
    found, problems = [], []
    for name, path in files.items():
        try:
            found.append(_read(name, path))
        except (OSError, ValueError, csv.Error, SegfoldError) as error:
            problems.append(f"{name} cannot be read as a CSV: {one_line(str(error))[:150]}")
    return found, problems


def _read(name: str, path: Path) -> Table:
    most = None if path.stat().st_size <= _MOST_BYTES else 50_000
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    if not header or len(set(header)) < len(header):
        raise SegfoldError("its first line names no columns, or one of them twice")
    rows = pd.read_csv(
        path,
        dtype=str,
        keep_default_na=False,
        na_filter=False,
        index_col=False,
        encoding="utf-8-sig",
        skipinitialspace=any(column.startswith(" ") for column in header),
        nrows=most,
    ).fillna("")
    return Table(name, rows.rename(columns=lambda column: one_form(str(column).strip())), most is None)


def _runs_share(cells: pd.Series) -> float:
    """Share of cells with runs among those that are not blank or stand there again and again."""
    counts = Counter(cells)
    empties = {text for text, count in counts.items() if not is_runs(text) and (count > 1 or not text.strip())}
    some = [text for text in counts if text not in empties][:_SOME]
    return sum(map(is_runs, some)) / len(some) if some else 0.0


def is_runs(text: str) -> bool:
    """Whether a cell holds pairs of numbers, by how it begins."""
    return _PAIR.match(text) is not None


@dataclass(frozen=True)
class Key:
    """How a column names images.

    Attributes:
        column: its name.
        text: what stands in it: ``{id}.jpg``, with ``{class}`` where it names classes too.
        share: of its cells that name an image.
        ids: the images that it names, in order.
        classes: what stands for ``{class}``.
    """

    column: str
    text: str
    share: float
    ids: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def parts(self, cell: str) -> tuple[str, str]:
        """Id and class of a cell; the class is empty where the column names none."""
        front, _, rest = self.text.partition("{id}")
        if "{class}" not in rest:
            return cell.removeprefix(front).removesuffix(rest), ""
        middle, _, _ = rest.partition("{class}")
        for label in self.classes:
            if cell.endswith(middle + label):
                return cell.removeprefix(front).removesuffix(middle + label), label
        return "", ""


def find_key(table: Table, ids: Collection[str]) -> Key | None:
    """The column that names images, and how."""
    keys = [found for column in table.columns if (found := _key(column, table.rows[column], ids)) is not None]
    return max(keys, key=lambda key: key.share, default=None)


def _key(column: str, cells: pd.Series, ids: Collection[str]) -> Key | None:
    unique = [text for text in cells.unique() if len(text) < 300]
    around: Counter[tuple[str, str]] = Counter()
    for text in unique[:: max(1, len(unique) // _SOME)]:
        if (found := _inside(text, ids)) is not None:
            around[found] += 1
    if not around:
        return None
    front = Counter(first for first, _ in around.elements()).most_common(1)[0][0]
    rests = sorted({last for first, last in around if first == front})
    text, classes = f"{front}{{id}}{rests[0]}", tuple[str, ...]()
    if len(rests) > 1:
        middle = _up_to_mark(rests)
        classes = tuple(sorted((rest[len(middle) :] for rest in rests), key=_order))
        if not middle or "" in classes or len(classes) > _MOST_CLASSES:
            return None
        text = f"{front}{{id}}{middle}{{class}}"
    key = Key(column, text, 0.0, (), classes)
    named = dict.fromkeys(name for cell in unique if (name := key.parts(cell)[0]) in ids)
    found_ = sum(key.parts(cell)[0] in ids for cell in unique)
    share = found_ / max(1, len(unique))
    return Key(column, text, share, tuple(named), classes) if share > 0.2 else None


def _inside(text: str, ids: Collection[str]) -> tuple[str, str] | None:
    """What stands before and after the longest id in a text."""
    starts = [0, *(match.end() for match in re.finditer("/", text))]
    ends = [len(text), *(match.start() for match in reversed(list(re.finditer(r"[-._ /]", text))))]
    for end in ends:
        for start in starts:
            if start < end and text[start:end] in ids:
                return text[:start], text[end:]
    return None


def _up_to_mark(texts: list[str]) -> str:
    """What all begin with, up to a mark."""
    front = "".join(common_front(texts))
    marks = [match.end() for match in re.finditer(r"[-._ ]", front)]
    return front[: marks[-1]] if marks else ""


def in_order(texts: Iterable[str]) -> tuple[str, ...]:
    """Classes sorted, numbers as such."""
    return tuple(sorted(texts, key=_order))


def _order(text: str) -> tuple[int, str]:
    return (int(text), text) if text.isdigit() else (-1, text)


@dataclass
class Columns:
    """What the other columns of a table hold.

    Attributes:
        classes: the column of classes, and its texts.
        rows: what a row is.
        splits: columns of splits, with the texts of each.
        groups: columns in which images share a text, with the number of texts.
        numbers: columns of numbers.
        empties: what stands for an empty mask, with how often.
    """

    class_column: str | None = None
    classes: tuple[str, ...] = ()
    rows: Literal["image", "class", "instance"] = "image"
    splits: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    numbers: list[str] = field(default_factory=list)
    empties: Counter[str] = field(default_factory=Counter)


def find_columns(table: Table, key: Key, runs: str | None, named: Collection[str] = ()) -> Columns:
    """Looks at the columns beside the ids and the run lengths.

    Args:
        named: columns that name classes in other tables.
    """
    found = Columns()
    ids = table.rows[key.column]
    doubled = ids.duplicated().any()
    if runs is not None:
        cells = table.rows[runs]
        found.empties = Counter(text.strip() for text in cells[[not is_runs(text) for text in cells]])
    for column in table.columns:
        if column in (key.column, runs):
            continue
        cells = table.rows[column]
        texts = sorted(cells.unique(), key=_order)
        is_named = column in named or bool(set(words(column)) & {*_CLASSES})
        if (
            runs is not None
            and found.class_column is None
            and not key.classes
            and 0 < len(texts) <= _MOST_CLASSES
            and (is_named or (doubled and len(texts) > 1))
            and (is_named or not pd.DataFrame({"id": ids, "class": cells}).duplicated().any())
        ):
            found.class_column, found.classes = column, tuple(texts)
        elif texts and len(texts) <= 4 and sum(split_of(text) is not None for text in texts) >= 2:
            found.splits[column] = texts
        elif pd.to_numeric(cells, errors="coerce").notna().all() and not set(words(column)) & {*_GROUPS}:
            found.numbers.append(column)
        elif (
            1 < len(texts) <= 0.7 * ids.nunique()
            and pd.DataFrame({"a": ids, "b": cells}).drop_duplicates()["a"].is_unique
        ):
            found.groups[column] = len(texts)
    names = [key.column, *([found.class_column] if found.class_column else [])]
    by_class = bool(key.classes) or found.class_column is not None
    several = table.rows.duplicated(subset=names).any() if names else False
    found.rows = "instance" if several else "class" if by_class else "image"
    return found


def known_texts(tables: Iterable[Table]) -> tuple[set[str], set[str]]:
    """What stands in tables, with and without a suffix; and that with all that its texts begin with, up to a mark."""
    cells = {text for table in tables for text in table.cells()}
    cells |= {text.rsplit("/")[-1] for text in cells}
    cells |= {text.rsplit(".", 1)[0] for text in cells}
    beginnings = {text[: match.start()] for text in cells for match in re.finditer(r"[-._ ]", text)}
    return cells, cells | beginnings
