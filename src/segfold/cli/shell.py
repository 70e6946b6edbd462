"""What the command line needs of the shell around it, without importing anything heavy."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segfold.errors import SegfoldError
from segfold.stopping import Interrupted

if TYPE_CHECKING:
    from segfold.competition import Competition

__all__ = ["HOME", "Interrupted", "require_dependencies", "test_shapes"]

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


def test_shapes(competition: "Competition") -> dict[str, tuple[int, int]]:
    """Height and width of each test image, by id as the sample submission spells it."""
    from segfold.competition import data_folder
    from segfold.data.images import load_split
    from segfold.data.table import read_table
    from segfold.submission.check import shapes_by_id

    images = load_split(competition, "test", HOME, progress=True)
    if all(name.isascii() for name in images.ids):
        return shapes_by_id(images, ())
    sample = data_folder(competition, HOME) / competition.sample_submission
    return shapes_by_id(images, read_table(sample, [competition.id_column], spelled=True)[competition.id_column])
