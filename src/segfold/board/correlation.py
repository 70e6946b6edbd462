"""Correlation of runs (to come)."""

from typing import Any


def run_correlation(*_: Any) -> None:
    """Nothing yet."""
