"""What can be asked of runs and submissions in SQL: tables with their columns, and their rows as they are read from disk."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segfold.board.run_folders import run_folders
from segfold.runs.folder import FoldFolder

if TYPE_CHECKING:
    from segfold.board.facts import RunFacts

Value = str | float | int | None
Row = Sequence[Value]

_MOST_COLUMNS = 1000
"""Of a table; SQLite takes 2,000. More can only come of a damaged file."""

_RUNS = (
    *("seconds", "images_per_second", "parameters", "device", "precision", "begun", "ended", "git_commit", "soup"),
)
_FOLDS = (
    *("state", "reason", "score", "standard_error", "iou", "dice", "empty", "epochs", "samples", "seconds"),
    *("prediction_seconds", "images", "images_per_second", "parameters"),
)
_SUBMISSIONS = (
    *("file", "competition", "cv", "cv_error", "nested", "members", "public", "private", "medal", "state", "written"),
    *("sent", "message", "problem"),
)


@dataclass(frozen=True)
class Table:
    """A table that is not read yet.

    Attributes:
        columns: their names, no two of which differ in the case of letters alone.
        rows: reads them.
    """

    columns: list[str]
    rows: Callable[[], Iterable[Row]]


class Tables:
    """The tables of a working folder, each read when it is asked for.

    Attributes:
        problems: a line for each file that was left out, once rows have been read.
    """

    names = ("runs", "settings", "folds", "epochs", "images", "submissions")

    def __init__(self, home: Path) -> None:
        self._home = home
        self.problems: list[str] = []

    def table(self, name: str) -> Table:
        """The table of one of ``names``. What is damaged says so in its row, or is left out and said in ``problems``."""
        made: Table = getattr(self, f"_{name}")()
        return made

    @cached_property
    def _facts(self) -> "list[RunFacts]":
        from segfold.board.facts import read_facts  # settings need torch, which takes seconds to import

        return read_facts(self._home)

    @cached_property
    def _submitted(self) -> list[dict[str, Any]]:
        from segfold.board.submissions import submission_records

        return submission_records(self._home)

    def _runs(self) -> Table:
        lead = ("run", "competition", "state", "reason", "folds", "cv", "cv_error", "public", "private", "medal")

        def rows() -> Iterator[Row]:
            from segfold.board.submissions import leaderboard_of

            for run in self._facts:
                record, cv = run.record(), run.cv or {"mean": None, "standard_error": None}
                values = {**record, "run": run.name, "folds": sum(fold.done is not None for fold in run.folds)}
                values |= {"cv": cv["mean"], "cv_error": cv["standard_error"], "git_commit": record["commit"]}
                values |= dict.fromkeys(("public", "private", "medal"))
                if run.competition is not None:
                    values |= leaderboard_of(run.name, run.competition, self._submitted)
                yield tuple(values[name] for name in (*lead, *_RUNS))

        return Table([*lead, *_RUNS], rows)

    def _settings(self) -> Table:
        def rows() -> Iterator[Row]:
            for run in self._facts:
                for setting, value in run.record()["settings"].items():
                    yield run.name, setting, value

        return Table(["run", "setting", "value"], rows)

    def _folds(self) -> Table:
        found = [(run.name, fold.record()) for run in self._facts for fold in run.folds]
        union = dict.fromkeys(name for _, record in found for name in record["classes"])
        classes = list(union)[: _MOST_COLUMNS - len(_FOLDS) - 2]

        def rows() -> Iterator[Row]:
            for run, record in found:
                by_class = (record["classes"].get(name, {}).get("iou") for name in classes)
                yield (run, record["number"], *(record[name] for name in _FOLDS), *by_class)

        return Table(distinct(["run", "fold", *_FOLDS, *(f"iou:{name}" for name in classes)]), rows)

    def _epochs(self) -> Table:
        found = [(run.name, fold.number, line) for run in self._facts for fold in run.folds for line in fold.epochs]
        lead = ("epoch", "stage", "lr", "loss")
        union = dict.fromkeys([*lead, *(key for *_, line in found for key in line)])
        keys = list(union)[: _MOST_COLUMNS - 2]

        def rows() -> Iterator[Row]:
            for run, fold, line in found:
                yield (run, fold, *(line.get(key) for key in keys))

        return Table(distinct(["run", "fold", *keys]), rows)

    def _images(self) -> Table:
        """One row for each held-out image of each finished fold: its line of ``scores.csv``."""
        folds = [(run.name, fold) for run in run_folders(self._home) for fold in _finished(run.path, run.folds)]
        headers = {fold: self._header(fold) for _, fold in folds}
        union = dict.fromkeys(
            name for header in headers.values() for name in header or () if name not in ("id", "fold")
        )
        keys = list(union)[: _MOST_COLUMNS - 3]

        def rows() -> Iterator[Row]:
            for run, fold in folds:
                header = headers[fold]
                if header is not None:
                    yield from self._scores(run, fold, header, keys)

        return Table(distinct(["run", "fold", "id", *keys]), rows)

    def _header(self, fold: FoldFolder) -> list[str] | None:
        """The columns of a fold's scores; None, and a line among the problems, where they cannot be read."""
        try:
            if not fold.scores.is_file():
                raise ValueError("no such file")
            with fold.scores.open(encoding="utf-8", newline="") as file:
                header = next(csv.reader(file), [])
            if "id" not in header or len(set(header)) < len(header):
                raise ValueError("expected columns of different names, one of them id")
            return header
        except (OSError, ValueError, csv.Error) as error:
            self.problems.append(f"{fold.scores} is left out: {error}")
            return None

    def _scores(self, run: str, fold: FoldFolder, header: list[str], keys: list[str]) -> list[Row]:
        """The rows of one fold, all or none."""
        try:
            with fold.scores.open(encoding="utf-8", newline="") as file:
                lines = list(csv.reader(file))[1:]
            places = [header.index(key) if key in header else None for key in keys]
            key, number, width = header.index("id"), fold.number, len(header)
            if any(len(line) != width for line in lines):
                raise ValueError("a line has more or fewer values than there are columns")
            return [
                (run, number, line[key], *(None if at is None else _number(line[at]) for at in places))
                for line in lines
            ]
        except (OSError, ValueError, csv.Error) as error:
            self.problems.append(f"{fold.scores} is left out: {error}")
            return []

    def _submissions(self) -> Table:
        def rows() -> Iterator[Row]:
            for record in self._submitted:
                yield tuple((record | {"members": ", ".join(record["members"])})[name] for name in _SUBMISSIONS)

        return Table(list(_SUBMISSIONS), rows)


def distinct(names: Iterable[str]) -> list[str]:
    """Names of columns, for which the case of letters does not matter: a later one that is taken gets a number.

    Example:
        >>> distinct(["run", "IoU", "iou", "Run"])
        ['run', 'IoU', 'iou_2', 'Run_2']
    """
    taken: set[str] = set()
    found = []
    for name in names:
        plain, count = name.encode("utf-8", "replace").decode().replace("\0", "") or "_", 1
        free = plain
        while free.lower() in taken:
            count += 1
            free = f"{plain}_{count}"
        taken.add(free.lower())
        found.append(free)
    return found


def value_of(value: Any) -> Value:
    """A value as SQLite takes it: a mapping or a list as JSON, a truth as 0 or 1, what is no number as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, Mapping | list | tuple):
        value = json.dumps(value, ensure_ascii=False)
    return None if value is None else str(value).encode("utf-8", "replace").decode()


def _number(text: str) -> Value:
    """A number of a CSV; its text where it is none."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text or None


def _finished(path: Path, folds: Callable[[], list[FoldFolder]]) -> list[FoldFolder]:
    try:
        return [fold for fold in folds() if fold.finished]
    except OSError:
        return []  # a folder that cannot be looked into; the table of runs says so
