"""What the command line needs of the shell around it, without importing anything heavy."""

import argparse
import importlib.util
import math
import os
import re
import sys
from pathlib import Path

from segfold.errors import SegfoldError, one_line, shown
from segfold.stopping import Interrupted

__all__ = ["HOME", "Interrupted", "finite_number", "remark", "require_dependencies", "time_span", "whole_number"]

HOME = Path()
"""The working folder: all paths of all verbs lie under it."""

_ROOT = Path(__file__).resolve().parents[3]
_NEEDED = (
    "torch",
    "timm",
    "albumentations",
    "cv2",
    "PIL",
    "pandas",
    "sklearn",
    "numba",
    "pydantic",
    "docstring_parser",
    "omegaconf",
    "rich",
)


def require_dependencies() -> None:
    """Go on in the repository's own ``.venv`` if this interpreter lacks a dependency and that one exists.

    Raises:
        SegfoldError: a dependency is missing and there is no ``.venv``.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return
    python = _ROOT / ".venv" / "bin" / "python"
    inside = Path(sys.prefix).resolve() == python.parents[1].resolve()
    if python.exists() and not inside and "SEGFOLD_REEXECUTED" not in os.environ:
        os.environ["SEGFOLD_REEXECUTED"] = "1"
        source = str(_ROOT / "src")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        os.execv(python, [str(python), *sys.orig_argv[1:]])
    raise SegfoldError(
        f"missing packages: {', '.join(missing)}; run `make setup`, or `pip install -r requirements.txt`"
    )


def remark(text: str) -> None:
    """A line beside a verb's output."""
    print(one_line(text), file=sys.stderr)


def whole_number(text: str) -> int:
    """An argument's ``type``: an integer of up to nine digits, which no array or loop overflows with."""
    if not re.fullmatch("[+-]?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number of up to nine digits")
    return int(text)


def finite_number(text: str) -> float:
    """An argument's ``type``: a number, neither infinite nor NaN."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no finite number")
    return number


def time_span(text: str) -> float:
    """An argument's ``type``: seconds of ``90s``, ``10m``, ``9h``, ``1h30m`` or ``0``."""
    found = re.fullmatch("(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?", text)
    if text != "0" and (not text or found is None):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no time: expected 90s, 10m, 9h, 1h30m or 0")
    return 0.0 if found is None else sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1.0)))
