"""What image libraries print while they decode: the only way in which libjpeg and libtiff say that a file is damaged
inside, and noise beside the one line that a user is to read."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

_STDERR = 2


class _Messages:
    """The standard error of the process, led into a file as long as somebody decodes.

    Libraries print to the process and not to a thread. Decodings therefore share the file, and when there is a complaint
    in it, all that were under way are done again, each by itself.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False
        self._file: int | None = None
        self._terminal: int | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            if self._sharing == 0:
                self._redirect()
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                if self._sharing == 0:
                    self._restore()
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            self._changed.wait_for(lambda: self._sharing == 0)
            self._redirect()
        try:
            yield
        finally:
            with self._changed:
                self._restore()
                self._alone = False
                self._changed.notify_all()

    def size(self) -> int:
        assert self._file is not None
        return os.fstat(self._file).st_size

    def text(self, start: int = 0) -> str:
        assert self._file is not None
        return os.pread(self._file, self.size() - start, start).decode("utf-8", "replace")

    def _redirect(self) -> None:
        if self._file is None:
            self._file, name = tempfile.mkstemp()
            Path(name).unlink()
        try:
            self._terminal = os.dup(_STDERR)
        except OSError:  # closed, as daemons have it
            self._terminal = None
        os.dup2(self._file, _STDERR)

    def _restore(self) -> None:
        assert self._file is not None
        if self._terminal is None:
            os.close(_STDERR)
        else:
            os.dup2(self._terminal, _STDERR)
            os.close(self._terminal)
        if self.size():
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)


_messages = _Messages()


def overheard(decode: Callable[[], Result], complains: Callable[[str], bool]) -> tuple[Result, str]:
    """Calls a function, and keeps from the standard error what libraries print meanwhile.

    Args:
        decode: called a second time where somebody complains.
        complains: whether what was printed matters; libraries have remarks on sound files as well.

    Returns:
        What the function returns, and what was printed if it matters, else "".
    """
    with _messages.shared():
        start = _messages.size()
        result = decode()
        if _messages.size() == start or not complains(_messages.text(start)):
            return result, ""
    with _messages.alone():
        return decode(), _messages.text()
