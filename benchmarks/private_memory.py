"""The memory of a process that no file backs, and the most of it that some work takes."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec

from benchmarks.suite import CannotMeasureError

STATUS = Path("/proc/self/status")
EVERY_SECONDS = 0.002

P = ParamSpec("P")


def private_bytes() -> int:
    """Memory of this process that no file backs."""
    lines = [line.split() for line in STATUS.read_text().splitlines()]
    return sum(1024 * int(words[1]) for words in lines if words[0] in ("RssAnon:", "RssShmem:"))


class Peak:
    """The most private memory inside the block, looked at from a thread."""

    def __enter__(self) -> "Peak":
        self.bytes = private_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.bytes = max(self.bytes, private_bytes())

    def _watch(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self.bytes = max(self.bytes, private_bytes())


def peak_of(work: Callable[P, Callable[[], object]], *arguments: P.args, **settings: P.kwargs) -> int:
    """Bytes that what ``work(…)`` returns takes at most, called in a process of its own.

    Args:
        work: a function of a module; what it takes itself does not count.

    Raises:
        CannotMeasureError: the system does not tell.
    """
    if not STATUS.exists():
        raise CannotMeasureError(f"no {STATUS} on this system")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, work, arguments, settings).result()


def _peak(work: Callable[..., Callable[[], object]], arguments: tuple[object, ...], settings: dict[str, object]) -> int:
    run = work(*arguments, **settings)
    base = private_bytes()
    with Peak() as peak:
        run()
    return peak.bytes - base
