"""Locks: all end with the process that took them, and where a file system has none the work goes on without."""

import contextlib
import errno
import fcntl
import io
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from segfold.disk import disk_errors, write_all
from segfold.errors import SegfoldError

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

_held: set[io.FileIO] = set()


def _forget_locks() -> None:
    # A forked worker shares the lock; closing its copy lets the lock end with the process that took it.
    for file in _held:
        with contextlib.suppress(OSError):
            file.close()
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


def flock(file: IO[Any], flags: int) -> bool:
    """True if locked, False if another holds the lock or the file system has no locks."""
    try:
        fcntl.flock(file.fileno(), flags)
    except OSError as error:
        if error.errno in NO_LOCKS or error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Holds a folder, which is made if need be, against others that hold it so; they wait.

    Yields:
        False where the file system has no locks: others may be there.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        alone = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            alone = False
        yield alone
    finally:
        os.close(descriptor)


class Lock:
    """Holds the file ``path`` as a lock until the block ends or the process dies.

    The file says who holds it and stays behind, free. ``doing`` completes the message "another process is …".

    Raises:
        SegfoldError: on entering, if another process holds it; names that process.
    """

    def __init__(self, path: Path | str, doing: str = "training this fold") -> None:
        self.path = Path(path)
        self.doing = doing
        self._file: io.FileIO | None = None

    def __enter__(self) -> "Lock":
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            file = io.FileIO(descriptor, "r+")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    holder = self._holder(file)
                    file.close()
                    raise SegfoldError(
                        f"another process is {self.doing}: {self.path} is held by {holder}; wait for it or stop it"
                    ) from None
                warnings.warn(
                    f"{self.path.parent} lies on a file system without locks; going on unlocked", stacklevel=2
                )
            _held.add(file)
            self._file = file
            try:
                self._say_who(file)
            except BaseException:
                self.__exit__()
                raise
        return self

    @staticmethod
    def _say_who(file: IO[bytes]) -> None:
        who = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        }
        file.truncate(0)
        file.seek(0)
        write_all(file, json.dumps(who).encode())

    @staticmethod
    def _holder(file: IO[bytes]) -> str:
        try:
            who = json.loads(file.read())
            return f"process {who['pid']} on {who['host']} since {who['since']}"
        except (ValueError, KeyError, TypeError, OSError):
            return "another process"

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            _held.discard(self._file)
            self._file.close()
            self._file = None


@dataclass(frozen=True)
class Holder:
    """The process that a lock's file names."""

    pid: int
    host: str
    since: str
    """Local time of that host, to the second."""


SILENCE = 900
"""Seconds without a write after which a process on another host is taken to have ended; a training saves every 300."""


def lock_holder(path: Path) -> Holder | None:
    """Who holds the lock ``path`` at this moment; None where nobody does. Asking never disturbs anybody.

    Even a shared attempt to take the lock, given up at once, could make a training fail that takes it in the same instant.
    So the process is asked that the file names: the lock lives as long as that process has the file open. A process on
    another host cannot be asked; it counts as long as something in the lock's folder was written lately.
    """
    try:
        if not path.is_file():
            return None
        who = json.loads(path.read_text(encoding="utf-8"))
        found = Holder(who["pid"], str(who["host"]), str(who["since"]))
        if not isinstance(found.pid, int) or isinstance(found.pid, bool) or found.pid < 1:
            return None
        holds = _has_open(found.pid, path) if found.host == socket.gethostname() else _written_lately(path.parent)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None  # nobody has held it, or nobody can say
    return found if holds else None


def _has_open(pid: int, path: Path) -> bool:
    """Whether a process of this host lives and has a file open: its number may have passed to another process."""
    try:
        os.kill(pid, 0)
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's, or a system without /proc: it lives, more cannot be known
    here = path.stat()
    for each in descriptors:
        with contextlib.suppress(OSError):  # closed in the meantime
            if os.path.samestat(here, each.stat()):
                return True
    return False


def _written_lately(folder: Path) -> bool:
    return any(time.time() - each.stat().st_mtime < SILENCE for each in folder.iterdir())
