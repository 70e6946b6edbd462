"""How long a training still takes, from how long its recent steps and epochs took."""

import statistics
from collections import deque
from typing import NamedTuple

RECENT = 200
"""Intervals that an estimate looks back on."""
LEAST = 5
"""Intervals before there is an estimate."""
FACTOR = 5
"""An interval that took so many times what is usual held something that comes once."""
ENOUGH_PAUSES = 3
"""Pauses from which on one knows what is usual."""


class _Interval(NamedTuple):
    seconds: float
    work: float
    pauses: bool
    """Whether an epoch ended in it, which was then validated and saved."""


class TimeLeft:
    """Estimates the time left from the pace between the moments that it is told of.

    What comes once is left out: the first steps, starting workers, and compiling, which takes minutes at the
    beginning and again when a stage has images of another size or thaws its encoder.
    """

    def __init__(self) -> None:
        self._intervals: deque[_Interval] = deque(maxlen=RECENT)
        self._last: tuple[float, float, int, int] | None = None

    def step(self, now: float, work: float, stage: int, epoch: int) -> None:
        """A moment right after a step.

        Args:
            now: seconds of any clock.
            work: done so far, in any unit.
            stage: its number.
            epoch: its number over all stages.
        """
        if self._last is not None and self._last[2] == stage and work > self._last[1]:
            self._intervals.append(_Interval(now - self._last[0], work - self._last[1], self._last[3] != epoch))
        self._last = now, work, stage, epoch

    def left(self, work: float) -> float | None:
        """Seconds that some more work will take; None while too little is known."""
        if len(self._intervals) < LEAST:
            return None
        steps = [part for part in self._intervals if not part.pauses] or list(self._intervals)
        pace = statistics.median(part.seconds / part.work for part in steps)
        pauses = [part.seconds - pace * part.work for part in self._intervals if part.pauses]
        pause = max(statistics.median(pauses), 0.0) if len(pauses) >= ENOUGH_PAUSES else 0.0
        usual = [
            part
            for part in self._intervals
            if part.seconds <= FACTOR * (pace * part.work + (pause if part.pauses else 0.0))
        ]
        return work * sum(part.seconds for part in usual) / sum(part.work for part in usual)
