"""How long views take to be predicted."""

import time


class Stopwatch:
    """Seconds a view, from what the clock shows after each batch; it starts when it is made.

    The first batch, in which a device warms up, counts only where no other one follows.
    """

    def __init__(self) -> None:
        self._start = self._first = self._last = (0, time.monotonic())

    def mark(self, views: int) -> None:
        """A batch of so many views is done."""
        counted = self._last[0]
        self._last = (counted + views, time.monotonic())
        if not counted:
            self._first = self._last

    @property
    def views(self) -> int:
        """How many were measured."""
        return self._last[0] - self._begin[0]

    @property
    def seconds(self) -> float:
        """What these took together."""
        return self._last[1] - self._begin[1]

    @property
    def _begin(self) -> tuple[int, float]:
        return self._start if self._first == self._last else self._first
