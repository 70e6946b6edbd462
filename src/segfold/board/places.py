"""Names of the board's files: ``runs/board.html``, ``runs/board-files/`` and ``runs/<run>/report.html``."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from segfold.runs.folder import BOARD_FILES, BOARD_PAGE

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}")
_MARKED = re.compile(r".*-[0-9a-f]{8}")
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


def file_stem(name: str) -> str:
    """A file's stem that stands for a name, which may hold anything: no two names have the same one, in any case of letters.

    Example:
        >>> file_stem("unet-resnet34")
        'unet-resnet34'
        >>> file_stem("<script>")
        'script-5b63e5b2'
    """
    if _PLAIN.fullmatch(name) and name == name.lower() and not _MARKED.fullmatch(name):
        return name
    mark = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return "-".join(filter(None, (_OTHER.sub("-", name).strip("-")[:40], mark)))


@dataclass(frozen=True)
class BoardPlaces:
    """Paths only; nothing is made by asking."""

    home: Path

    @property
    def page(self) -> Path:
        return self.home / "runs" / BOARD_PAGE

    @property
    def files(self) -> Path:
        """All that the page loads; also the folder that is held while a board is built."""
        return self.home / "runs" / BOARD_FILES

    @property
    def kept(self) -> Path:
        """From what each file was made, see ``segfold.board.kept``."""
        return self.files / "kept.json"

    @property
    def app(self) -> Path:
        """The page's own scripts and styles."""
        return self.files / "app"

    def script(self, name: str) -> Path:
        """The file of a data script, such as ``epochs/unet``."""
        return self.files / f"{name}.js"

    def report(self, run: str) -> Path:
        return self.home / "runs" / run / "report.html"
