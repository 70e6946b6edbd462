"""Which folders in ``runs/`` are runs, even damaged ones. Imports nothing heavy, as what only lists files needs no more."""

import re
from pathlib import Path

from segfold.runs.folder import BOARD_FILES, RunFolder

_FOLD = re.compile("fold[0-9]+")
_OWN = ("config.yaml", "run.json", "environment.json", "soup.json")


def run_folders(home: Path) -> list[RunFolder]:
    """All runs in ``home/runs``, by name, whole or damaged; what is hidden and what is no run is left out."""
    try:
        entries = sorted((home / "runs").iterdir())
    except OSError:
        return []
    return [
        RunFolder(path)
        for path in entries
        if not path.name.startswith(".") and path.name != BOARD_FILES and _looks_like_a_run(path)
    ]


def _looks_like_a_run(path: Path) -> bool:
    try:
        if not path.is_dir():
            return path.is_symlink() and not path.exists()
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        return True  # it cannot be looked into, and is listed with that reason
    return any(name in names for name in _OWN) or any(map(_FOLD.fullmatch, names))
