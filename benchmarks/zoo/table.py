"""The zoo's figures as a table: on the screen, and in the documentation."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import document

Record = dict[str, Any]


def columns(default: str) -> tuple[str, ...]:
    """Their names; the last, of what is to be said of a row, has none."""
    figures = ("parameters", "GMACs", "images/s", "memory", "images seen")
    return ("system", "start", "score", f"against {default}", *figures, "")


def trained(record: Record) -> bool:
    """Whether the score is more than two standard errors above that of saying the same of every pixel."""
    return bool(record["score"] - record["floor"] > 2 * record["standard_error"])


def says_something(record: Record) -> bool:
    """Whether there is a score to show: from random weights only one of what trained, which too short a time may not show."""
    return "score" in record and (record["pretrained"] or trained(record))


def cells(record: Record) -> tuple[str, ...]:
    """A row's texts, in the order of ``columns``."""
    scored = says_something(record)
    against = f"{record['against']:+.3f} ± {record['against_error']:.3f}" if scored and "against" in record else ""
    return (
        record["name"],
        "pretrained" if record["pretrained"] else "random",
        f"{record['score']:.3f} ± {record['standard_error']:.3f}" if scored else "–",
        against,
        f"{record['parameters'] / 1e6:.2f} M",
        f"{record['gmacs']:.2f}",
        f"{record['images_per_second']:.1f}",
        f"{record['peak_mib']:,.0f} MiB",
        f"{record['samples']:,}" if "samples" in record else "",
        "did not train" if "score" in record and not trained(record) else "",
    )


def ranked(records: Sequence[Record]) -> list[Record]:
    """Systems before ablations, each from the best score down; those without one by name."""

    def rank(record: Record) -> tuple[Any, ...]:
        scored = says_something(record)
        return record["ablation"], not scored, -record["score"] if scored else 0.0, record["name"]

    return sorted(records, key=rank)


def show(records: Sequence[Record], default: str, title: str, console: Console) -> None:
    """Print the rows."""
    table = Table(title=title, title_justify="left")
    for column in columns(default):
        table.add_column(column, justify="left" if column in ("system", "") else "right", no_wrap=True)
    last = False
    for record in ranked(records):
        if record["ablation"] and not last:
            table.add_section()
        last = record["ablation"]
        table.add_row(*cells(record))
    console.print(table)


def markdown(records: Sequence[Record], default: str) -> str:
    """The rows as two tables for a document: the systems, and the ablations."""
    parts = [[cells(row) for row in ranked(records) if row["ablation"] == ablation] for ablation in (False, True)]
    return "\n\n".join(document.markdown(columns(default), rows) for rows in parts if rows)
