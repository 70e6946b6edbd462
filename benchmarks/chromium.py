"""The system's Chromium, driven by playwright: for what is measured, pictured and tested in a browser."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
NAMED = "SEGFOLD_CHROMIUM"
WIDE, NARROW = 1280, 390
"""Widths of windows in pixels: of a small notebook and of a telephone."""

# Nothing that Chromium itself would ask a network for; no sandbox, which a container may not have.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--font-render-hinting=none",
)


class NoBrowserError(Exception):
    """There is no Chromium here, or nothing to drive it with."""


@contextmanager
def launched() -> Iterator[Any]:
    """A browser of playwright, closed at the end.

    Raises:
        NoBrowserError: playwright or Chromium is missing; says how to get it.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowserError("no playwright: make test-browser installs it") from None
    named = os.environ.get(NAMED)
    path = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    if path is None:
        raise NoBrowserError(f"no Chromium{f' at {named}' if named else ''}: install it, or name it in {NAMED}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
