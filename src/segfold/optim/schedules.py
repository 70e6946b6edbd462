"""Learning-rate schedules: stateless functions of the share of a stage that is done.

A schedule is built from keyword-only settings and returns ``factor(done)``: the factor on the stage's
``lr`` after the share ``done`` (0 at the first step, towards 1 at the last) of the stage's optimiser steps.
"""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def cosine(*, end: float = 0.0) -> Schedule:
    """From 1 down to ``end`` along half a cosine (SGDR without restarts, arXiv 1608.03983)."""

    def factor(done: float) -> float:
        return _half_cosine(1.0, end, done)

    return factor


def onecycle(*, warmup: float = 0.3, start: float = 0.04, end: float = 1e-4) -> Schedule:
    """One cycle (Smith, arXiv 1708.07120): ``start`` up to 1 over the share ``warmup``, then down to ``end``."""

    def factor(done: float) -> float:
        if done < warmup:
            return _half_cosine(start, 1.0, done / warmup)
        return _half_cosine(1.0, end, (done - warmup) / (1 - warmup))

    return factor


SCHEDULES: dict[str, Callable[..., Schedule]] = {"cosine": cosine, "onecycle": onecycle}


def build_schedule(name: str, **settings: float) -> Schedule:
    """Schedule ``name`` with its settings."""
    return SCHEDULES[name](**settings)
