"""Disputed test images (to come)."""

from typing import Any


def write_disputed(*_: Any) -> None:
    """Nothing yet."""
