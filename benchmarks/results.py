"""The figures as a table on the screen and as ``results.json``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import document
from benchmarks.measure import Row
from segfold.files import write_json

Record = dict[str, Any]
COLUMNS = ("figure", "ours", "peer or limit", "unit", "ratio", "target", "")


def records(rows: Sequence[Row], machine: str, commit: str) -> list[Record]:
    """What is written of each row."""
    return [
        {
            "name": row.name,
            "ours": _digits(row.ours),
            "peer": _digits(row.peer),
            "ratio": _digits(row.ratio),
            "target": row.target,
            "better": row.better,
            "unit": row.unit,
            "machine": machine,
            "commit": commit,
        }
        for row in rows
    ]


def merged(old: Sequence[Record], new: Sequence[Record], order: Sequence[str]) -> list[Record]:
    """The old records with the new ones in the place of those of their names.

    Args:
        order: names of all rows that are made today; others are dropped.
    """
    found = {record["name"]: record for record in [*old, *new]}
    return [found[name] for name in order if name in found]


def read(path: Path) -> list[Record]:
    """What an earlier run wrote; nothing where there is none."""
    if not path.exists():
        return []
    found: list[Record] = json.loads(path.read_text())
    return found


def write(path: Path, found: Sequence[Record]) -> None:
    """Write the records in place of the file's."""
    write_json(path, list(found))


def show(rows: Sequence[Row], title: str, console: Console) -> None:
    """Print the rows as a table, and their notes below it."""
    table = Table(title=title, title_justify="left")
    for name in COLUMNS:
        left = name in ("figure", "unit", "")
        table.add_column(name, justify="left" if left else "right", no_wrap=name == "figure")
    for row, record in zip(rows, records(rows, "", "")):
        table.add_row(*_cells(record, "n/a here" if row.waived else ""))
    console.print(table)
    for row in rows:
        for note in (*row.notes, *([f"n/a here: {row.waived}"] if row.waived else [])):
            console.print(f"{row.name}: {note}", highlight=False, markup=False)


def markdown(found: Sequence[Record]) -> str:
    """The records as a table for a document."""
    return document.markdown(COLUMNS, [_cells(record) for record in found])


def _cells(record: Record, verdict: str = "") -> tuple[str, ...]:
    target, ratio = record["target"], record["ratio"]
    higher = record["better"] == "higher"
    if target is not None:
        verdict = "met" if (ratio >= target if higher else ratio <= target) else "missed"
    asked = "–" if target is None else f"{'≥' if higher else '≤'} {target:g}"
    return (
        record["name"],
        _text(record["ours"]),
        _text(record["peer"]),
        record["unit"],
        f"{ratio:.3g}",
        asked,
        verdict,
    )


def _digits(value: float) -> float:
    return float(f"{value:.5g}")


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
