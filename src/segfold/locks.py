"""Locks: all end with the process that took them, and where a file system has none the work goes on without."""

import contextlib
import errno
import fcntl
import io
import json
import os
import socket
import warnings
from collections.abc import Iterator
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
