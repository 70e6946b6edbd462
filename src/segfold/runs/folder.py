"""A run folder: the names of its files, and which of some paths are runs with a finished fold."""

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segfold.errors import SegfoldError
from segfold.paths import reachable

_FOLD = re.compile(r"fold(0|[1-9][0-9]{0,8})")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")

BOARD_PAGE, BOARD_FILES = "board.html", "board-files"
"""What the board is called, which lies in ``runs/`` beside the runs."""


def _checked_name(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SegfoldError(f"{kind} {name!r}: expected letters, digits and . _ + - without a leading dot; rename it")
    return name


@dataclass(frozen=True)
class FoldFolder:
    """``runs/<run>/fold<k>``: paths only; nothing is made by asking."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name.removeprefix("fold"))

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "last.pt"

    @property
    def metrics(self) -> Path:
        """One line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def scores(self) -> Path:
        """Metrics and areas of every held-out image, a line each."""
        return self.path / "scores.csv"

    @property
    def done(self) -> Path:
        """The fold's scores, written last: without it the fold is unfinished."""
        return self.path / "done.json"

    @property
    def failed(self) -> Path:
        """Why the last training of the fold ended in an error; gone once it is trained again."""
        return self.path / "failed.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the fold."""
        return self.path / "lock"

    @property
    def finished(self) -> bool:
        return self.done.is_file()

    def epochs_kept(self) -> Iterator[Path]:
        """Weights of single epochs, kept until the best of them are averaged."""
        return self.path.glob("epoch*.safetensors")

    def remove_epochs(self, keep: Collection[Path] = ()) -> None:
        """Removes the weights of single epochs but those in ``keep``."""
        for path in set(self.epochs_kept()) - set(keep):
            with contextlib.suppress(OSError):
                path.unlink()

    def weights(self, name: str = "model") -> Path:
        """Weights for inference: ``model``, or a snapshot's name."""
        return self.path / f"{_checked_name('weights', name)}.safetensors"

    def predictions(self, weights: str = "model", tta: str = "none") -> Path:
        """Folder of the probability stores made with these weights and this test-time augmentation."""
        return self.path / "pred" / f"{_checked_name('weights', weights)}-{_checked_name('tta', tta)}"


@dataclass(frozen=True)
class RunFolder:
    """``runs/<run>``: paths only; nothing is made by asking."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name or self.path.resolve().name

    @property
    def config_path(self) -> Path:
        """The resolved settings, enough to repeat the run."""
        return self.path / "config.yaml"

    @property
    def record_path(self) -> Path:
        """What a network of the run takes and gives, so that nothing else is needed to rebuild it."""
        return self.path / "run.json"

    @property
    def environment_path(self) -> Path:
        return self.path / "environment.json"

    @property
    def soup_path(self) -> Path:
        """Of which runs the weights are means; absent where they were trained."""
        return self.path / "soup.json"

    def fold(self, number: int) -> FoldFolder:
        return FoldFolder(self.path / f"fold{number}")

    def folds(self) -> list[FoldFolder]:
        """The folds that have a folder, by number."""
        if not self.path.is_dir():
            return []
        found = (_FOLD.fullmatch(entry.name) for entry in self.path.iterdir() if entry.is_dir())
        return [self.fold(number) for number in sorted({int(match[1]) for match in found if match})]

    def finished_folds(self) -> list[FoldFolder]:
        """The folds that may be predicted and blended, by number."""
        return [fold for fold in self.folds() if fold.finished]


def run_folder(home: Path, name: str) -> RunFolder:
    """``runs/<name>`` of the working folder ``home``.

    Raises:
        SegfoldError: a path rather than a name: the run would lie where ``runs/*`` does not find it; a name of the board's.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        alone = [part for part in re.split(r"[/\\]", name) if part.strip(".")]
        raise SegfoldError(f"--run {name!r}: expected a name alone" + (f", for instance {alone[-1]}" if alone else ""))
    if name.lower() in (BOARD_PAGE, BOARD_FILES):
        raise SegfoldError(f"--run {name!r}: the board is called so; expected another name")
    return RunFolder(reachable(home / "runs" / name))


def _reason_to_skip(path: Path) -> str | None:
    try:
        return _why_no_run(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _why_no_run(path: Path) -> str | None:
    if not path.exists():
        return "does not exist"
    if not path.is_dir():
        return "not a folder"
    run = RunFolder(path)
    if not run.config_path.is_file():
        if _FOLD.fullmatch(path.name) and RunFolder(path.parent).config_path.is_file():
            return f"one fold of a run; give the run, {path.parent}"
        return "not a run: no config.yaml"
    if not run.finished_folds():
        started = ", ".join(fold.path.name for fold in run.folds())
        return f"no finished fold (started: {started})" if started else "no finished fold"
    return None


def find_runs(paths: Iterable[Path | str]) -> tuple[list[RunFolder], list[tuple[Path, str]]]:
    """The runs with a finished fold among ``paths``, which may hold anything that ``runs/*`` matches.

    Returns:
        The runs in the order given, each once, and what was skipped with the reason; the board is left out without one.
        Neither is checked for being empty: the caller knows what it needs runs for.
    """
    runs: dict[Path, RunFolder] = {}
    skipped: dict[Path, str] = {}
    for path in map(Path, paths):
        reason = _reason_to_skip(path)
        if reason is None:
            runs.setdefault(path.resolve(), RunFolder(path))
        elif path.name not in (BOARD_PAGE, BOARD_FILES):
            skipped[path] = reason
    return list(runs.values()), list(skipped.items())
