"""What the command line needs of the shell around it, without importing anything heavy."""

import argparse
import importlib.util
import math
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segfold.errors import SegfoldError, shown
from segfold.stopping import Interrupted

if TYPE_CHECKING:
    from segfold.competition import Competition

__all__ = ["HOME", "Interrupted", "finite_number", "require_dependencies", "test_shapes", "whole_number"]

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


def test_shapes(competition: "Competition") -> dict[str, tuple[int, int]]:
    """Height and width of each test image, by id as the sample submission spells it."""
    from segfold.competition import data_folder
    from segfold.data.images import load_split
    from segfold.layouts.table import read_table
    from segfold.submission.check import shapes_by_id

    images = load_split(competition, "test", HOME, progress=True)
    if all(name.isascii() for name in images.ids):
        return shapes_by_id(images, ())
    sample = data_folder(competition, HOME) / competition.sample_submission
    return shapes_by_id(images, read_table(sample, [competition.id_column], spelled=True)[competition.id_column])
