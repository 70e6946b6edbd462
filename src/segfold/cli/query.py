"""Ask runs, folds, epochs, images and submissions in SQL, which only reads; without a statement, what there is to ask."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from segfold.cli.shell import HOME, remark, whole_number

ROWS = 100
"""Of a table, unless told otherwise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sql", nargs="?", default="", metavar="SQL", help='one select statement, such as "select run, cv from runs"'
    )
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    parser.add_argument(
        "--limit", type=whole_number, metavar="ROWS", help=f"rows to show (default: {ROWS} of a table, else all)"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.board.query import ask
    from segfold.errors import SegfoldError
    from segfold.stopping import Stopping

    if arguments.limit is not None and arguments.limit < 1:
        raise SegfoldError(f"--limit {arguments.limit}: expected 1 row or more")
    stopping = Stopping()
    with stopping.installed():
        if not arguments.sql.strip():
            _overview()
            return 0
        with stopping.deferred():  # SQLite asks for it, and swallows what a signal's handler raises
            answer = ask(HOME, arguments.sql, lambda: stopping.asked)
            limit = ROWS if arguments.format == "table" and arguments.limit is None else arguments.limit
            rows = _Cut(answer.rows, limit)
            {"table": _table, "csv": _csv, "json": _json}[arguments.format](answer.columns, rows)
            for problem in dict.fromkeys(answer.problems):
                remark(problem)
            if rows.more:
                remark(f"only the first {limit:,} rows: --limit {10 * rows.count} shows more, --format csv all")
    return 0


class _Cut:
    """The first rows. ``count`` is how many there were, ``more`` whether others follow, once they have been gone through."""

    def __init__(self, rows: Iterable[Sequence[Any]], limit: int | None) -> None:
        self._rows, self._limit = rows, limit
        self.count, self.more = 0, False

    def __iter__(self) -> Any:
        for row in self._rows:
            if self.count == self._limit:
                self.more = True
                return
            self.count += 1
            yield row


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """RFC 4180: lines end with CR and LF, null is empty, numbers have all their digits."""
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_plain(value) for value in row] for row in rows)


def _json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A list of objects, one a line."""
    import json
    import math

    def value(each: Any) -> Any:
        return None if isinstance(each, float) and not math.isfinite(each) else _plain(each)

    print("[", end="")
    for number, row in enumerate(rows):
        print(",\n " if number else "\n ", end="")
        print(json.dumps(dict(zip(columns, map(value, row))), ensure_ascii=False, allow_nan=False), end="")
    print("\n]")


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """For people: numbers to eight digits, the other formats have all of them."""
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    held = list(rows)
    table = Table()
    for place, name in enumerate(columns):
        numbers = any(isinstance(row[place], int | float) for row in held)
        table.add_column(Text(_shown(name)), justify="right" if numbers else "left", overflow="fold")
    for row in held:
        table.add_row(*(Text(_shown(value)) for value in row))
    # A pipe has no width to keep to.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _shown(value: Any) -> str:
    from segfold.errors import one_line

    if value is None:
        return ""
    if isinstance(value, float):
        exact = repr(value)
        return exact if len(exact) <= 10 else f"{value:.8g}"
    return one_line(str(_plain(value)))


def _overview() -> None:
    from segfold.board.query import EXAMPLES
    from segfold.board.tables import Tables

    tables = Tables(HOME)
    _table(("table", "columns"), [(name, ", ".join(tables.table(name).columns)) for name in Tables.names])
    print("\nexamples:")
    for example in EXAMPLES:
        print(f'  segfold query "{example}"')
