"""Locks that end with the process that took them."""

import contextlib
import fcntl
import io
import json
import os
import socket
import warnings
from datetime import datetime
from pathlib import Path
from typing import IO

from segfold.errors import SegfoldError
from segfold.files import NO_LOCKS, disk_errors, write_all

_held: set[io.FileIO] = set()


def _forget_locks() -> None:
    # A forked worker shares the lock; closing its copy lets the lock end with the process that took it.
    for file in _held:
        with contextlib.suppress(OSError):
            file.close()
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


class FoldLock:
    """Holds the file ``path`` as a lock until the block ends or the process dies.

    The file says who holds it and stays behind, free. ``doing`` completes the message "another process is …";
    with ``wait`` there is no message but a wait, for locks held for a moment.

    Raises:
        SegfoldError: on entering, if another process holds it; names that process.
    """

    def __init__(self, path: Path | str, doing: str = "training this fold", wait: bool = False) -> None:
        self.path = Path(path)
        self.doing = doing
        self.wait = wait
        self._file: io.FileIO | None = None

    def __enter__(self) -> "FoldLock":
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            file = io.FileIO(descriptor, "r+")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if self.wait else fcntl.LOCK_NB))
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
