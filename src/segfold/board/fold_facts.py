"""What a fold's folder says: whether it is trained, how far it is, what it scored; whatever is damaged becomes the reason."""

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from segfold.errors import SegfoldError, one_line
from segfold.files import read_json, read_lines
from segfold.locks import lock_holder
from segfold.runs.folder import FoldFolder
from segfold.runs.record import read_done

FoldState = Literal["finished", "training", "stopped", "failed", "damaged"]
T = TypeVar("T")


@dataclass(frozen=True)
class FoldFacts:
    """A fold that has begun.

    Attributes:
        state: ``damaged`` where a file cannot be read, even if the fold is finished.
        reason: one line; None where it is finished.
        done: what ``done.json`` holds, None where it is not there or cannot be read. It says whether there are scores.
        epochs: the whole lines of ``metrics.jsonl``, those before a damaged one.
        ends: epochs of the whole training, None where the settings cannot be read.
    """

    folder: FoldFolder
    number: int
    state: FoldState
    reason: str | None
    done: dict[str, Any] | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    ends: int | None = None

    def record(self) -> dict[str, Any]:
        """The fold as the board has it; numbers as they are stored, None where one is not there."""
        done = self.done or {}
        last = self.epochs[-1] if self.epochs else {}
        samples = number(done.get("samples", last.get("samples")))
        seconds = number(done.get("seconds", last.get("seconds")))
        held_out = done.get("held_out")
        return {
            "number": self.number,
            "state": self.state,
            "reason": self.reason,
            **{name: number(done.get(name)) for name in ("score", "standard_error", "iou", "dice", "empty")},
            "classes": _classes(done.get("classes")),
            "epochs": number(done.get("epochs", last.get("epoch"))),
            "samples": samples,
            "seconds": seconds,
            "prediction_seconds": number(done.get("prediction_seconds")),
            "images": number(done.get("images", len(held_out) if isinstance(held_out, list) else None)),
            "images_per_second": samples / seconds if samples and seconds else None,
            "parameters": number(done.get("parameters")),
            "images_script": None,
        }


def read_fold_facts(folder: FoldFolder, ends: int | None = None) -> FoldFacts | None:
    """What a fold's folder says; None where the fold has not begun. Never raises.

    Args:
        ends: epochs of the whole training.
    """
    problems: list[str] = []
    there = tried(problems, lambda: folder.done.exists() or folder.done.is_symlink()) or False
    done = tried(problems, lambda: read_done(_plain(folder.done, folder))) if there else None
    epochs = tried(problems, lambda: _epochs(folder.metrics, problems)) or []
    state: FoldState = "finished"
    reason: str | None = None
    if not there:
        holder = None if problems else lock_holder(folder.lock)
        failed = tried(problems, lambda: _failure(folder))
        if holder is not None:
            state, reason = "training", f"training since {holder.since}, {_progress(epochs, ends)}"
        elif failed is not None:
            state, reason = "failed", f"failed {_progress(epochs, ends)}: {failed}"
        elif tried(problems, lambda: _resumable(folder)):
            state, reason = "stopped", f"stopped {_progress(epochs, ends)}; the same command goes on from there"
        elif epochs and not problems:
            problems.append(f"{folder.path} has neither done.json nor last.pt: move it away and train it again")
        elif not problems:
            return None
    if problems:
        state, reason = "damaged", "; ".join(dict.fromkeys(problems))
    return FoldFacts(folder, folder.number, state, reason, done, epochs, ends)


def tried(problems: list[str], read: Callable[[], T]) -> T | None:
    """What a function returns; where it raises, None, and the reason is added to ``problems``.

    A damaged file may provoke any exception, and one run must not hide all others.
    """
    try:
        return read()
    except SegfoldError as error:
        problems.append(str(error))
    except PermissionError as error:
        problems.append(f"{error.filename} cannot be read ({error.strerror}); make it readable")
    except Exception as error:
        problems.append(one_line(f"{type(error).__name__}: {error}")[:300])
    return None


def number(value: Any) -> float | int | None:
    """A finite number, as it is; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def _plain(path: Path, folder: FoldFolder) -> FoldFolder:
    """Refuses what is no file: reading a pipe would wait for ever."""
    if not path.is_file():
        raise SegfoldError(f"{path} is no file; restore it, or move {folder.path} away and train again")
    return folder


def _epochs(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    if path.exists() and not path.is_file():
        raise SegfoldError(f"{path} is no file; remove it")
    found: list[dict[str, Any]] = []
    for line, text in enumerate(read_lines(path), 1):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            problems.append(f"{path} line {line} is no epoch; delete that line")
            break
        found.append(values)
    return found


def _failure(folder: FoldFolder) -> str | None:
    if not folder.failed.is_file():
        return None
    values = read_json(folder.failed)
    reason = values.get("reason") if isinstance(values, dict) else None
    return one_line(str(reason)) if reason else "for a reason that was not written down"


def _resumable(folder: FoldFolder) -> bool:
    if not folder.last.exists():
        return False
    # A zip's list of contents is at its end: a checkpoint that was cut off has none. Its content is not looked at here.
    if not folder.last.is_file() or not zipfile.is_zipfile(folder.last):
        raise SegfoldError(f"{folder.last} is no whole checkpoint; move it away to train the fold anew")
    return True


def _progress(epochs: list[dict[str, Any]], ends: int | None) -> str:
    epoch = number(epochs[-1].get("epoch")) if epochs else None
    if not epoch:
        return "in its first epoch"
    return f"after epoch {epoch:g}" + ("" if ends is None else f" of {ends}")


def _classes(found: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(found, Mapping):
        return {}
    return {
        str(name): {key: number(values.get(key)) for key in ("iou", "standard_error")}
        for name, values in found.items()
        if isinstance(values, Mapping)
    }
