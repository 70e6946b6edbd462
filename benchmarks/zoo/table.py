"""The zoo's figures as a table: on the screen, and in the documentation."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import document
from benchmarks.zoo.systems import DEFAULT

Record = dict[str, Any]
COLUMNS = (
    "system",
    "start",
    "score",
    f"against {DEFAULT}",
    "parameters",
    "GMACs",
    "images/s",
    "memory",
    "images seen",
    "",
)


def trained(record: Record) -> bool:
    """Whether the score is more than two standard errors above that of predicting nothing."""
    return bool(record["score"] - record["all_empty"] > 2 * record["standard_error"])


def cells(record: Record) -> tuple[str, ...]:
    """A row's texts, in the order of ``COLUMNS``."""
    return (
        record["name"],
        "pretrained" if record["pretrained"] else "random",
        f"{record['score']:.3f} ± {record['standard_error']:.3f}",
        f"{record['against']:+.3f} ± {record['against_error']:.3f}" if "against" in record else "",
        f"{record['parameters'] / 1e6:.2f} M",
        f"{record['gmacs']:.2f}",
        f"{record['images_per_second']:.1f}",
        f"{record['peak_mib']:,.0f} MiB",
        f"{record['samples']:,}",
        "" if trained(record) else "did not train",
    )


def ranked(records: Sequence[Record]) -> list[Record]:
    """Systems before ablations, each from the best score down."""
    return sorted(records, key=lambda record: (record["ablation"], -record["score"], record["name"]))


def show(records: Sequence[Record], title: str, console: Console) -> None:
    """Print the rows."""
    table = Table(title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("system", "") else "right", no_wrap=True)
    last = False
    for record in ranked(records):
        if record["ablation"] and not last:
            table.add_section()
        last = record["ablation"]
        table.add_row(*cells(record))
    console.print(table)


def markdown(records: Sequence[Record]) -> str:
    """The rows as two tables for a document: the systems, and the ablations."""
    parts = [[cells(row) for row in ranked(records) if row["ablation"] == ablation] for ablation in (False, True)]
    return "\n\n".join(document.markdown(COLUMNS, rows) for rows in parts if rows)
