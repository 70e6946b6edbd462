"""Names of submissions: none is lost to a later one, and the same one made again has the same name."""

import hashlib
import json
from enum import Enum
from pathlib import Path

from segfold.errors import SegfoldError


class Taken(Enum):
    """What to do where another submission has the name."""

    RENAME = "rename"
    """Put a short hash of the submission behind it."""
    REFUSE = "refuse"
    REPLACE = "replace"


def manifest_path(csv_path: Path | str) -> Path:
    """``submissions/name.csv`` -> ``submissions/name.json``."""
    return Path(csv_path).with_suffix(".json")


def recipe_path(csv_path: Path | str) -> Path:
    """``submissions/name.csv`` -> ``submissions/name.recipe.yaml``."""
    return Path(csv_path).with_suffix(".recipe.yaml")


def place(path: Path, content: bytes, recipe: str | None, taken: Taken) -> tuple[Path, bool]:
    """Where a submission goes.

    Args:
        path: the CSV's name if it is free.
        content: of the CSV.
        recipe: hash of all that decided it, as its manifest records it.
        taken: what to do if ``path`` is another submission.

    Returns:
        The path, and whether this very submission, its manifest too, is there already.

    Raises:
        SegfoldError: the name is taken, and is not to be changed.
    """
    if taken is Taken.REPLACE:
        return path, False
    digest = hashlib.sha256(f"{recipe} ".encode() + content).hexdigest()
    named = path.with_stem(f"{path.stem}-{digest[:6]}")
    candidates = [named, path] if taken is Taken.RENAME and named.exists() else [path]
    for candidate in candidates:
        free, same = _state(candidate, content, recipe)
        if free or same:
            return candidate, same
    if taken is Taken.REFUSE:
        raise SegfoldError(
            f"{path} is another submission (other members, weights, threshold or predictions); "
            "choose another --name, or replace it with --force"
        )
    if named.exists():  # made by somebody else, or damaged
        named = path.with_stem(f"{path.stem}-{digest}")
    return named, False


def _state(path: Path, content: bytes, recipe: str | None) -> tuple[bool, bool]:
    """Whether a submission may be written to ``path``, and whether it is there already, whole."""
    try:
        manifest = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        manifest = None
    except (OSError, ValueError):
        manifest = {}
    recorded = manifest.get("recipe") if isinstance(manifest, dict) else None
    if not path.exists():  # a manifest alone is what is left of a submission that was deleted
        return manifest is None or recorded == recipe, False
    if path.read_bytes() != content:
        return False, False
    return recorded is None, recorded is not None and recorded == recipe
