"""The board of made-up runs in headless Chromium, without a network.

What a page says to the console as an error, a request to anything but its own files, and a window that asks something,
fail the test in which they happen. ``make test-browser`` sets ``SEGFOLD_BROWSER=required``: what is lacking then fails
rather than skips.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from benchmarks.chromium import WIDE, NoBrowserError, launched

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


def lacking(what: str) -> NoReturn:
    """Ends a test that cannot run here."""
    if os.environ.get("SEGFOLD_BROWSER") == "required":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            started = stack.enter_context(launched())
        except NoBrowserError as error:
            lacking(str(error))
        yield started


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that checks the rules of accessibility."""
    path = ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"
    if not path.is_file():
        lacking(f"no {path}: make test-browser fetches it")
    return path.read_text()


@dataclass
class Opener:
    """Opens pages, and collects what is wrong with all of them."""

    browser: Any
    wrong: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ("file://", "data:", "blob:")
    contexts: list[Any] = field(default_factory=list)

    def __call__(
        self, page: Path | str, state: str = "", width: int = WIDE, theme: str = "light", height: int = 900
    ) -> Any:
        """A new page.

        Args:
            page: a file, which is opened without any network, or an address.
            state: what stands behind the # of the address.
            width: of the window, in pixels; a narrow one is a telephone's.
            theme: that the system prefers.
        """
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            has_touch=width < 600,
            offline=isinstance(page, Path),
            reduced_motion="reduce",
            timezone_id="UTC",
        )
        context.set_default_timeout(30_000)
        self.contexts.append(context)
        opened = context.new_page()
        self.watch(opened)
        context.on("page", self.watch)
        address = page.resolve().as_uri() if isinstance(page, Path) else page
        opened.goto(f"{address}#{state}" if state else address)
        opened.wait_for_selector("#panel section[data-tab]")
        return opened

    def watch(self, page: Any) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", self._refuse)
        page.on("request", lambda asked: asked.url.startswith(self.allowed) or self.wrong.append(f"asked: {asked.url}"))
        page.on("requestfailed", self._failed)

    def _failed(self, asked: Any) -> None:
        # What was still being read when the page was left or closed is none of its faults.
        if "ERR_ABORTED" not in str(asked.failure):
            self.wrong.append(f"failed: {asked.url[:200]} {asked.failure}")

    def _said(self, said: Any) -> None:
        # That is about the tests, which read canvases back.
        if said.type in ("error", "warning") and "willReadFrequently" not in said.text:
            self.wrong.append(f"console: {said.text}")

    def _refuse(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def opened(browser: Any) -> Iterator[Opener]:
    opener = Opener(browser)
    yield opener
    for context in opener.contexts:
        context.close()
    assert opener.wrong == []


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a board: 4 runs × 40 images and what else a week leaves behind; not to be changed."""
    from benchmarks.board_week import make_week

    from segfold.board.build import build_board

    home = tmp_path_factory.mktemp("browser") / "week"
    make_week(home)
    build_board(home)
    return home


@pytest.fixture
def board(week: Path, opened: Opener) -> Callable[..., Any]:
    """Opens the board of ``week`` at the competition ``salt``, or at another one; arguments as those of ``Opener``."""

    def open_(state: str = "", *arguments: Any, **options: Any) -> Any:
        state = state if "competition=" in state else f"competition=salt&{state}"
        return opened(week / "runs" / "board.html", state, *arguments, **options)

    return open_
