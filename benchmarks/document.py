"""A table in a document, between two marks, so that it is never typed by hand."""

from collections.abc import Sequence
from pathlib import Path

BEGIN, END = "<!-- this table is written by {} -->", "<!-- end of the table -->"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column and one without a name lie left, the others right."""
    line = ["---" if number == 0 or not name else "---:" for number, name in enumerate(columns)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, line, *rows))


def table_in(path: Path, command: str) -> str:
    """What stands between the marks of ``command``.

    Raises:
        ValueError: the document has no such marks.
    """
    return _parts(path, command)[1].strip()


def put_into(path: Path, command: str, table: str) -> None:
    """Replace what stands between the marks of ``command``.

    Raises:
        ValueError: the document has no such marks.
    """
    before, _, after = _parts(path, command)
    path.write_text(f"{before}\n\n{table}\n\n{after}")


def _parts(path: Path, command: str) -> tuple[str, str, str]:
    begin = BEGIN.format(command)
    head, found, rest = path.read_text().partition(begin)
    middle, end, tail = rest.partition(END)
    if not found or not end:
        raise ValueError(f"{path} has no lines {begin} and {END}")
    return head + begin, middle, END + tail
