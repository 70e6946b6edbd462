"""The page itself: its HTML, and beside it the scripts and styles that it loads."""

import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from segfold.board.kept import Kept, key_of
from segfold.board.places import BoardPlaces
from segfold.board.script import json_text
from segfold.errors import SegfoldError
from segfold.files import write_atomic

_HERE = Path(__file__).parent
_FIRST = ("core.js", "theme.js", "board.css", "masks.js", "charts.js")
_LAST = ("board.js",)


def _app(suffix: str) -> tuple[str, ...]:
    """The page's own files of a kind, in the order in which they are loaded: the last script starts the page."""
    names = sorted(path.name for path in (_HERE / "app").glob(f"*{suffix}"))
    first, last = ([name for name in part if name in names] for part in (_FIRST, _LAST))
    return (*first, *(name for name in names if name not in {*first, *last}), *last)


STYLES, SCRIPTS = _app(".css"), _app(".js")
CHARTS = "plotly.min.js"
"""Is loaded when the first chart is drawn."""


def write_page(
    path: Path, title: str, files: str, report: str | None = None, facts: Mapping[str, Any] | None = None
) -> bool:
    """Writes a page, if it would be another than the one that is there.

    Args:
        files: where the page finds ``board-files``, relative and with a slash at the end.
        report: the run that it is of; None for the board.
        facts: what the page knows; None where it is to load ``board.js``.

    Returns:
        Whether it was written.
    """
    template = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True).get_template("board.html")
    text = template.render(
        title=title,
        files=files,
        report=report,
        styles=STYLES,
        scripts=SCRIPTS,
        facts=None if facts is None else json_text(facts),
    )
    try:
        same = path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        same = False
    if not same:
        with write_atomic(path, "w") as file:
            file.write(text)
    return not same


def copy_app(places: BoardPlaces, kept: Kept) -> None:
    """Puts the page's scripts and styles, and the chart library, where the page finds them."""
    for source in [*(_HERE / "app" / name for name in (*STYLES, *SCRIPTS)), chart_library()]:
        stat = source.stat()
        key = key_of(stat.st_size, stat.st_mtime_ns) if source.name == CHARTS else key_of(source)
        kept.build(f"app/{source.name}", key, partial(_copy, source))


def chart_library() -> Path:
    """The chart library's script, which its Python package brings.

    Raises:
        SegfoldError: it is not there.
    """
    found = importlib.util.find_spec("plotly")
    path = None if found is None or found.origin is None else Path(found.origin).parent / "package_data" / CHARTS
    if path is None or not path.is_file():
        raise SegfoldError("the package plotly, or its script, is missing: run `make setup`, or `pip install plotly`")
    return path


def _copy(source: Path, target: Path) -> None:
    with write_atomic(target) as file:
        file.write(source.read_bytes())
