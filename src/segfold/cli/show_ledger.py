"""The ledger as a table."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from segfold.errors import one_line
from segfold.leaderboard import Submission

_STATES = {"written": "not sent", "unknown": "no answer yet: make sync"}


def ledger_table(submissions: Sequence[Submission]) -> None:
    """A row a submission, in the order in which they were noted."""
    if not submissions:
        print("the ledger is empty: python submit.py --ensemble runs/* writes a submission")
        return
    table = Table(title="submissions", title_justify="left")
    table.add_column("file", overflow="fold")
    for name in ("CV", "± se", "public", "private"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("sent (UTC)", no_wrap=True)
    table.add_column("state", overflow="fold")
    for each in submissions:
        sent = "" if each.sent is None else each.sent[:16].replace("T", " ")
        state = _STATES.get(each.state, each.state) + (f": {each.problem}" if each.problem else "")
        numbers = (_four(each.cv), _four(each.cv_error), _score(each.public), _score(each.private))
        table.add_row(one_line(each.file), *numbers, sent, one_line(state))
    Console().print(table)


def _four(number: float | None) -> str:
    return "" if number is None else f"{number:.4f}"


def _score(number: float | None) -> str:
    """As the host shows it, which rounds as it likes."""
    return "" if number is None else f"{number:g}"
