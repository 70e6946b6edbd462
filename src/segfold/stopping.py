"""Ctrl-C, SIGTERM and time limits: asked for at any moment, obeyed where the state is whole."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 30
"""How long a loader's worker outlives SIGTERM."""


class Interrupted(BaseException):
    """The user or the system asked to stop. ``code`` is the shell's exit code (130 or 143)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stopping:
    """Turns SIGINT and SIGTERM into ``Interrupted``, at once or, inside ``deferred``, when polled.

    A second signal always stops at once.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._deferring = False
        self.signal: int | None = None

    @contextmanager
    def installed(self) -> Iterator["Stopping"]:
        """Handle the signals inside the block, then give them back."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block a first signal only sets ``signal``; the block polls and leaves by itself."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self.signal is not None:
            raise Interrupted(128 + self.signal)

    @property
    def asked(self) -> bool:
        """Whether a signal came inside ``deferred`` or the time is up."""
        return self.signal is not None or self.out_of_time

    @property
    def out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.signal is not None
        self.signal = number
        if again or not self._deferring:
            raise Interrupted(128 + number)


def leave_signals_to_parent(worker: int) -> None:
    """What a loader's worker process does first.

    Ctrl-C, and SIGTERM from a scheduler, reach the whole process group; the parent finishes its step, saves, and ends
    the workers itself. A worker that died first would end the parent with an error; one that never obeyed SIGTERM
    would keep the parent from ending.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
