"""Keeping the board up to date while training runs: builds it, serves it, and builds it again when something has changed."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from segfold.board.places import BoardPlaces
from segfold.board.run_folders import run_folders
from segfold.board.script import read_script
from segfold.board.serve import BoardServer
from segfold.errors import SegfoldError, one_line
from segfold.locks import lock_holder

REST = 2.0
"""Time between two builds, in what the last one took: training should not wait for the board."""

_NAP = 0.25  # seconds that Ctrl-C may wait
_OWN = {"report.html", "tensorboard"}


def watch(
    home: Path,
    build: Callable[[], object],
    host: str = "127.0.0.1",
    port: int = 8000,
    every: float = 3.0,
    say: Callable[[str], None] = print,
    wait: Callable[[float], object] | None = None,
) -> None:
    """Serves the board of a working folder until it is stopped.

    Builds happen in the thread that calls this, so that Ctrl-C stops them as it stops any other work; requests are answered
    in others.

    Args:
        build: builds the board.
        every: seconds between two looks at whether something has changed.
        say: told the address, and why a build failed; only a first one that fails ends it.
        wait: for so many seconds; None: by the clock.

    Raises:
        SegfoldError: the port is taken, or the first build failed.
    """
    server = BoardServer(home, host, port)
    try:
        seen = state_of(home)
        build()
        server.made = made_at(home)
        server.start()
        say(f"{server.address} shows the board and follows what changes; Ctrl-C ends it")
        if not server.bound.is_loopback:
            say(f"whoever reaches {server.bound} can read it; --host 127.0.0.1 keeps it to this machine")
        took, failed = 0.0, ""
        while True:
            (wait or rest)(max(every, REST * took))
            if (now := state_of(home)) == seen:
                continue
            began = time.monotonic()
            try:
                build()
                seen, failed, server.made = now, "", made_at(home)
            except Exception as error:
                reason = str(error) if isinstance(error, SegfoldError) else one_line(f"{type(error).__name__}: {error}")
                if reason != failed:  # it is tried again and again, and said once
                    say(f"the board stays as it is: {reason}")
                failed = reason
            took = time.monotonic() - began
    finally:
        server.stop()


def rest(seconds: float) -> None:
    """Sleeps, never long at a time: a signal that comes right before a sleep does not shorten it."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _NAP))


def state_of(home: Path) -> str:
    """A hash that changes when something changes that the board shows: what is in ``runs/``, ``submissions/``, ``audit/``.

    A training that dies changes no file, so it is also asked which folds are trained.
    """
    digest = hashlib.sha256()
    for folder in run_folders(home):
        try:
            held = [fold.number for fold in folder.folds() if not fold.finished and lock_holder(fold.lock)]
        except OSError:
            held = []
        digest.update(f"{folder.name} {held}\n".encode("utf-8", "surrogateescape"))
        _add(digest, folder.path)
    for name in ("submissions", "audit"):
        _add(digest, home / name)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", folder: Path) -> None:
    for path, about in sorted(_files(folder), key=itemgetter(0)):
        # A checkpoint is saved every few minutes, and changes nothing that is shown.
        changing = (0, 0) if path.endswith("/last.pt") else (about.st_mtime_ns, about.st_size)
        digest.update(f"{path} {changing}\n".encode("utf-8", "surrogateescape"))


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """All files below a folder but those of the board, those that are being written, and hidden ones."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name in _OWN or entry.name.startswith(".") or entry.name.endswith(".part"):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry.path, entry.stat()
        except OSError:
            continue  # gone, or a link to nowhere


def made_at(home: Path) -> str:
    """When the board was made that lies there, as its page knows it."""
    try:
        return str(read_script(BoardPlaces(home).script("board"))[1]["made"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
