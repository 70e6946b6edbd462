"""Lists of ids, one a line, as VOC has them for each split."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segfold.layouts.ids import one_form

_MOST_BYTES = 20_000_000


@dataclass
class Lists:
    """Lists of one folder.

    Attributes:
        pattern: ``ImageSets/Segmentation/{split}.txt``.
        ids: of each list, by its name.
    """

    pattern: str
    ids: dict[str, list[str]]


def find_lists(files: dict[str, Path], ids: Collection[str], masked: Collection[str]) -> Lists | None:
    """The folder of lists whose lines are ids of images; None where there is none.

    Args:
        files: text files by their paths.
        ids: of images.
        masked: those with masks.
    """
    folders: dict[str, dict[str, list[str]]] = {}
    for name, file in files.items():
        lines = _lines(file)
        if lines and sum(line in ids for line in lines) >= 0.5 * len(lines):
            path = PurePosixPath(name)
            folders.setdefault(path.parent.as_posix(), {})[path.stem] = lines
    rated = [
        (sum(line in masked for line in found.get("train", ())), "Segmentation" in folder, folder)
        for folder, found in folders.items()
    ]
    if not rated:
        return None
    folder = max(rated)[-1]
    return Lists(f"{folder}/{{split}}.txt".removeprefix("./"), folders[folder])


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return []
        return [one_form(line.strip()) for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return []
