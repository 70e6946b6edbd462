"""Read-only SQL over what runs and submissions say, in a database in memory that holds only the tables that are read."""

import difflib
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segfold.board.tables import Row, Tables, distinct, value_of
from segfold.errors import SegfoldError

EXAMPLES = (
    "select run, cv, cv_error, folds from runs where state = 'finished' order by cv desc",
    "select fold, epoch, loss, score from epochs where run = 'NAME' order by fold, epoch",
    "select id, avg(iou) as mean, max(iou) - min(iou) as differ from images group by id order by differ desc limit 20",
)

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_REFUSED_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)", re.DOTALL)
_LONGEST = 100_000_000
"""Bytes of one value."""
_STEPS = 20_000
"""Of SQLite's machine between two looks at whether to stop; some milliseconds."""


@dataclass(frozen=True)
class Answer:
    """What a statement gives.

    Attributes:
        columns: no two alike, whatever the case of letters.
        rows: read as they are asked for; they end early where the statement was stopped.
        problems: a line for each file that was left out.
    """

    columns: list[str]
    rows: Iterator[Row]
    problems: list[str]


def ask(home: Path, sql: str, stop: Callable[[], bool] = lambda: False) -> Answer:
    """Runs one statement that reads.

    Args:
        home: the working folder.
        stop: asked all the time whether to give up.

    Raises:
        SegfoldError: it is no statement that reads, or names what is not there. Here; an error that only some row provokes is
            raised from ``rows``.
    """
    if first_word(sql) not in ("select", "with", "values"):
        raise SegfoldError(f"expected one statement that begins with select, such as: {EXAMPLES[0]}")
    tables = Tables(home)
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    words = set(re.findall(r"\w+", sql.lower()))
    named = {name: tables.table(name) for name in tables.names if name in words}
    for name, table in named.items():
        # Values keep the kind that they have in their file; only names are always text.
        kinds = (f"{_quoted(each)}{' TEXT' if each in ('run', 'id') else ''}" for each in table.columns)
        connection.execute(f"CREATE TABLE {name} ({', '.join(kinds)})")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.set_authorizer(_authorise)
    columns = {name: table.columns for name, table in named.items()}
    try:
        read = _read(connection, sql)
        connection.set_authorizer(None)
        for name in read:
            places = ", ".join("?" * len(named[name].columns))
            connection.execute("BEGIN")
            rows = (tuple(map(value_of, row)) for row in named[name].rows())
            connection.executemany(f"INSERT INTO {name} VALUES ({places})", rows)
            connection.execute("COMMIT")
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorise)
        connection.set_progress_handler(lambda: int(stop()), _STEPS)
        cursor = connection.execute(sql)
    except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
        if stop():
            return Answer([], iter(()), tables.problems)
        raise _explained(error, columns) from None
    names = distinct(each[0] for each in cursor.description or ())
    return Answer(names, _rows(cursor, columns, stop), tables.problems)


def _read(connection: sqlite3.Connection, sql: str) -> list[str]:
    """The tables that a statement reads. It is compiled only, which finds what is wrong with it before anything is read.

    The program that it is compiled to is looked at: what is asked of the authoriser leaves out the right side of a USING.
    """
    program = connection.execute(f"EXPLAIN {sql}").fetchall()
    opened = {line[3] for line in program if line[1] == "OpenRead"}
    tables = connection.execute("SELECT name, rootpage FROM sqlite_master").fetchall()
    return [name for name, page in tables if page in opened]


def _authorise(action: int, one: str | None, two: str | None, *_: str | None) -> int:
    """Lets a statement read and compute, and nothing else."""
    computes = action == sqlite3.SQLITE_FUNCTION and str(two).lower() not in _REFUSED_FUNCTIONS
    return sqlite3.SQLITE_OK if action in _ALLOWED or computes else sqlite3.SQLITE_DENY


def first_word(sql: str) -> str:
    """The word that a statement begins with, in small letters, after blanks and comments."""
    place = 0
    while (found := _COMMENT.match(sql, place)) is not None:
        place = found.end()
    word = re.compile(r"\w*").match(sql, place)
    return "" if word is None else word[0].lower()


def _rows(cursor: sqlite3.Cursor, columns: dict[str, list[str]], stop: Callable[[], bool]) -> Iterator[Row]:
    try:
        for row in cursor:
            if stop():
                return
            yield row
    except sqlite3.Error as error:
        if not stop():
            raise _explained(error, columns) from None
    finally:
        cursor.connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _explained(error: Exception, columns: dict[str, list[str]]) -> SegfoldError:
    """What SQLite says, and what there is instead."""
    text = str(error)
    if found := re.fullmatch(r"no such table: (.*)", text, re.DOTALL):
        name = found[1].removeprefix("main.")
        return SegfoldError(f"{text}; {_nearest(name, Tables.names)}")
    if found := re.fullmatch(r"no such column: (.*)", text, re.DOTALL):
        table, _, name = found[1].rpartition(".")
        known = columns.get(table.lower()) or list(dict.fromkeys(each for part in columns.values() for each in part))
        advice = _nearest(name, known) if known else f"name a table: {', '.join(Tables.names)}"
        return SegfoldError(f"{text}; {advice}")
    if "not authorized" in text or "prohibited" in text or "readonly" in text:
        return SegfoldError(f"{text}: a query only reads; expected one select statement")
    if "one statement at a time" in text:
        return SegfoldError("more than one statement; expected one select statement")
    return SegfoldError(f"{text}; segfold query without a statement shows the tables and examples")


def _nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    small = {each.lower(): each for each in known}
    near = [small[each] for each in difflib.get_close_matches(name.lower(), small, n=3, cutoff=0.5)]
    return f"nearest: {', '.join(near)}" if near else f"there are {', '.join(known)}"
