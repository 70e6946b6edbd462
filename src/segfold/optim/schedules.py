"""Learning-rate schedules: stateless functions of the share of a stage that is done.

A schedule is built from keyword-only settings and returns ``factor(done, scores)``: the factor on the stage's
``lr`` after the share ``done`` (0 at the first step, 1 at the last) of the stage's optimiser steps. ``scores``
are the stage's validation scores so far, oldest first, higher is better; only ``plateau`` reads them. Nothing
is remembered between calls, so a resumed run gets the rates of the uninterrupted one.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from annotated_types import Ge, Gt, Le, Lt

from segfold.errors import SegfoldError
from segfold.ranges import Share
from segfold.schema import build

# A boundary computed as k / cycles may miss k by a rounding; no stage has as many steps as this would confuse.
_BOUNDARY = 1e-9


Factor = Annotated[float, Ge(0), Le(1)]
"""Of the stage's learning rate, which is the highest of all."""
Cycles = Annotated[int, Ge(1), Le(10_000)]
Decay = Annotated[float, Gt(0), Le(1)]


class Schedule(Protocol):
    """The factor on the stage's learning rate."""

    def __call__(self, done: float, scores: Sequence[float] = ()) -> float: ...


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _cycle(done: float, cycles: int) -> tuple[int, float]:
    """The cycle at ``done``, from 0, and the share of it that is done; a boundary belongs to the new cycle."""
    position = done * cycles
    cycle = min(math.floor(position + _BOUNDARY), cycles - 1)
    return cycle, max(position - cycle, 0.0)


def _check_cycles(schedule: str, end: float, cycles: int, decay: float) -> None:
    if decay ** (cycles - 1) < end:
        raise SegfoldError(
            f"schedule {schedule}: the last of {cycles} cycles would rise, from {decay ** (cycles - 1):.3g} to "
            f"{end:g}; a larger decay, a lower end or fewer cycles are needed"
        )


def constant() -> Schedule:
    """Always 1."""

    def factor(done: float, scores: Sequence[float] = ()) -> float:
        return 1.0

    return factor


def cosine(*, end: Factor = 0.0, cycles: Cycles = 1, decay: Decay = 1.0) -> Schedule:
    """Down to ``end`` along half a cosine, with warm restarts (SGDR, Loshchilov & Hutter, arXiv 1608.03983).

    Args:
        end: factor on the stage's ``lr`` at the end of every cycle.
        cycles: number of cycles, all of one length; cycle k, from 0, starts at ``decay ** k``.
        decay: factor from one cycle's peak to the next.
    """
    _check_cycles("cosine", end, cycles, decay)

    def factor(done: float, scores: Sequence[float] = ()) -> float:
        cycle, share = _cycle(done, cycles)
        return _half_cosine(decay**cycle, end, share)

    return factor


def poly(
    *, power: Annotated[float, Gt(0), Le(100)] = 0.9, end: Factor = 0.0, cycles: Cycles = 1, decay: Decay = 1.0
) -> Schedule:
    """Down to ``end`` as ``(1 - done) ** power`` (DeepLab, arXiv 1606.00915), with restarts.

    The second place of TGS restarted every 50 epochs at half the rate: ``decay=0.5``.

    Args:
        power: exponent of the fall: 1 is a straight line; below 1 the rate stays high for longer.
        end: factor on the stage's ``lr`` at the end of every cycle.
        cycles: number of cycles, all of one length; cycle k, from 0, starts at ``decay ** k``.
        decay: factor from one cycle's peak to the next.
    """
    _check_cycles("poly", end, cycles, decay)

    def factor(done: float, scores: Sequence[float] = ()) -> float:
        cycle, share = _cycle(done, cycles)
        return end + (decay**cycle - end) * max(1 - share, 0.0) ** power

    return factor


def exponential(
    *, end: Annotated[float, Gt(0), Le(1)] = 0.01, drops: Annotated[int, Ge(1), Le(10_000)] | None = None
) -> Schedule:
    """Down to ``end``, by the same factor with every step or in ``drops`` drops at equal intervals.

    FC-DenseNet (arXiv 1611.09326): ×0.995 an epoch, which over 750 epochs is ``end=0.0233``.

    Args:
        end: factor on the stage's ``lr`` at its end.
        drops: how many drops, so that there are ``drops + 1`` rates; null: smoothly.
    """

    def factor(done: float, scores: Sequence[float] = ()) -> float:
        share = done if drops is None else _cycle(done, drops + 1)[0] / drops
        return end**share

    return factor


def onecycle(*, warmup: Share = 0.3, start: Factor = 0.04, end: Factor = 1e-4) -> Schedule:
    """One cycle (Smith, arXiv 1708.07120): ``start`` up to 1 over the share ``warmup``, then down to ``end``.

    Args:
        warmup: share of the stage until the full rate; with 1 the last step has it, and ``end`` is never reached.
        start: factor on the stage's ``lr`` at the first step.
        end: factor on the stage's ``lr`` at the last step.
    """

    def factor(done: float, scores: Sequence[float] = ()) -> float:
        if done < warmup:
            return _half_cosine(start, 1.0, done / warmup)
        return _half_cosine(1.0, end, (done - warmup) / (1 - warmup)) if done > warmup else 1.0

    return factor


def noam(*, warmup: Annotated[float, Gt(0), Le(1)] = 0.04) -> Schedule:
    """Linear from 0 to 1 over the share ``warmup``, then with the inverse square root (arXiv 1706.03762, 5.3).

    Args:
        warmup: share of the stage until the full rate; the ninth place of TGS took 10 of 250 epochs.
    """

    def factor(done: float, scores: Sequence[float] = ()) -> float:
        return done / warmup if done < warmup else math.sqrt(warmup / done)

    return factor


def plateau(
    *,
    factor: Annotated[float, Gt(0), Lt(1)] = 0.25,
    patience: Annotated[int, Ge(0), Le(1_000_000)] = 10,
    minimum: Factor = 0.0,
    threshold: Annotated[float, Ge(0), Le(10)] = 1e-4,
) -> Schedule:
    """Lower by ``factor`` each time that more than ``patience`` validations in a row bring no new best score.

    The rates are those of ``torch.optim.lr_scheduler.ReduceLROnPlateau(mode="max", threshold_mode="abs")``.
    The threshold is absolute because scores lie in 0…1, where a relative one would mean less the worse the
    network is. ×0.25 after 10 is the first place of TGS.

    Args:
        factor: what the rate is multiplied by, each time that it is lowered.
        patience: validations, not epochs, without a new best that are put up with.
        minimum: factor on the stage's ``lr`` below which the rate is not lowered.
        threshold: by how much a score must exceed the best to be a new best.
    """

    def present(done: float, scores: Sequence[float] = ()) -> float:
        rate, best, waited = 1.0, -math.inf, 0
        for score in scores:
            if score > best + threshold:
                best, waited = score, 0
            else:
                waited += 1
            if waited > patience:
                rate, waited = max(rate * factor, minimum), 0
        return rate

    return present


def step(*, every: Annotated[float, Ge(1e-4), Le(1)] = 0.3, factor: Annotated[float, Gt(0), Lt(1)] = 0.1) -> Schedule:
    """Lower by ``factor`` after each share ``every`` of the stage; at the end the last of them may be cut short.

    Caffe's policy of that name: DeconvNet (arXiv 1505.04366) has ×0.1 every 9,000 of 20,000 steps, which is ``every=0.45``.

    Args:
        every: share of the stage from one fall to the next.
        factor: what the rate is multiplied by, each time.
    """

    # The last step of all is at 1, where another interval would begin if they fill the stage.
    most = math.ceil(1 / every - _BOUNDARY) - 1

    def present(done: float, scores: Sequence[float] = ()) -> float:
        return factor ** min(math.floor(done / every + _BOUNDARY), most)

    return present


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "noam": noam,
    "onecycle": onecycle,
    "plateau": plateau,
    "poly": poly,
    "step": step,
}


def build_schedule(name: str, **settings: Any) -> Schedule:
    """Schedule ``name`` with its settings.

    Raises:
        SegfoldError: a setting is out of range.
    """
    return build(f"schedule.{name}", SCHEDULES[name], settings)


def with_warmup(schedule: Schedule, share: float, start: float = 0.0) -> Schedule:
    """Linear from ``start`` to 1 over the share ``share`` of the stage; ``schedule`` runs over the rest.

    Args:
        share: 0 leaves the schedule as it is.
        start: factor at the first step.

    Raises:
        SegfoldError: the share leaves nothing to the schedule, or is negative.
    """
    if not 0 <= share < 1:
        raise SegfoldError(f"the warm-up takes {share:g} of the stage; a share of at least 0 and below 1 is needed")
    if share == 0:
        return schedule

    def factor(done: float, scores: Sequence[float] = ()) -> float:
        if done < share:
            return start + (1 - start) * done / share
        return schedule((done - share) / (1 - share), scores)

    return factor


def needs_scores(name: str) -> bool:
    """Whether the schedule depends on validation scores, so that the stage must be validated."""
    return name == "plateau"


def cycle_count(name: str, settings: Mapping[str, Any]) -> int:
    """Number of cycles of schedule ``name`` with ``settings``; 1 for a schedule that has no such setting."""
    setting = inspect.signature(SCHEDULES[name]).parameters.get("cycles")
    return 1 if setting is None else int(settings.get("cycles", setting.default))
