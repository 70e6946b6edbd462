"""Files decoded on several threads, some ahead of who takes them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import TypeVar

import numpy as np

from segfold.cores import cores

# Decoded ahead of their consumer: memory stays flat as sets grow, and as images do.
AHEAD_BYTES = 1 << 28
_AHEAD = 256  # files

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_files(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` on one thread a core (OpenCV decodes without the GIL), in order, some hundred files ahead.

    No file is begun while arrays of ``AHEAD_BYTES`` wait for their consumer, so they come to that and one more on each
    thread at most, whatever the files hold.
    """
    threads = cores()
    changed = Condition()
    held = given = 0
    stopped = False

    def work(place: int, item: Item) -> tuple[Result, int]:
        nonlocal held
        if held >= AHEAD_BYTES:
            with changed:
                # The one that the consumer waits for always goes on.
                changed.wait_for(lambda: held < AHEAD_BYTES or place == given or stopped)
        result = function(item)
        size = _array_bytes(result)
        with changed:
            held += size
        return result, size

    waiting: deque[Future[tuple[Result, int]]] = deque()

    def first() -> Result:
        nonlocal held, given
        result, size = waiting.popleft().result()
        with changed:
            held -= size
            given += 1
            changed.notify_all()
        return result

    with ThreadPoolExecutor(threads) as pool:
        try:
            for place, item in enumerate(items):
                waiting.append(pool.submit(work, place, item))
                if len(waiting) >= _AHEAD:
                    yield first()
            while waiting:
                yield first()
        finally:
            stopped = True
            with changed:
                changed.notify_all()
            for future in waiting:
                future.cancel()


def _array_bytes(result: object) -> int:
    """Of an array, or of all arrays in a tuple."""
    parts = result if isinstance(result, tuple) else (result,)
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))
