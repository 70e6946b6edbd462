"""What all benchmarks share: a row of the table, how hard to measure, and two things timed in turn."""

import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from segfold.cores import cores
from segfold.environment import git_state
from segfold.machine import cpu_has_bf16

MOST_ROUNDS = 500


@dataclass(frozen=True)
class Row:
    """One figure: ours against a named peer or limit.

    Attributes:
        name: of the row, unique.
        ours: in ``unit``.
        peer: in ``unit``.
        unit: of both.
        target: what the ratio ``ours / peer`` must reach; None where nothing is asked of it here.
        better: whether a higher or a lower ratio is better.
        notes: lines to print under the table.
        waived: why nothing is asked of the row on this machine, where something is on others.
    """

    name: str
    ours: float
    peer: float
    unit: str
    target: float | None
    better: Literal["higher", "lower"] = "higher"
    notes: tuple[str, ...] = ()
    waived: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.better == "higher" else self.ratio <= self.target


@dataclass(frozen=True)
class Effort:
    """How long to measure. ``quick`` only shows that a benchmark runs; its figures mean nothing.

    Attributes:
        scale: of the sides of large images, above 0 and at most 1, the size that is meant.
    """

    quick: bool = False
    scale: float = 1.0

    def least(self, rounds: int) -> int:
        """Rounds that must be taken."""
        return 2 if self.quick else rounds

    def seconds(self, seconds: float) -> float:
        """Time after which no further round begins, once the least number is taken."""
        return 0.0 if self.quick else seconds

    def size(self, full: int, quick: int) -> int:
        """How much work a round is."""
        return quick if self.quick else full

    def side(self, full: int, quick: int) -> int:
        """Of a large image, in pixels: a multiple of 512, or ``quick``."""
        return quick if self.quick else max(512, int(full * self.scale) // 512 * 512)


Seconds = dict[str, list[float]]
"""Seconds of each round, by what was timed."""


def interleave(things: Mapping[str, Callable[[], object]], *, least: int, seconds: float) -> Seconds:
    """Time some things in turn, so that whatever else the machine does falls on all alike.

    Who goes first changes from round to round. All must have run before: compiled, and warm.

    Args:
        least: rounds that are taken however long they last.
        seconds: no further round begins after this.
    """
    times: Seconds = {name: [] for name in things}
    order = list(things)
    began = time.perf_counter()
    for done in range(MOST_ROUNDS):
        if done >= least and time.perf_counter() - began >= seconds:
            break
        for name in order:
            times[name].append(timed(things[name]))
        order.append(order.pop(0))
    return times


def rate(amount: float, seconds: Sequence[float]) -> float:
    """Amount a second in the median round."""
    return amount / statistics.median(seconds)


def spread(times: Seconds, ours: str = "ours", peer: str = "peer") -> str:
    """How many rounds there were, and how far the ratio of their times strays: a note for a row."""
    ratios = sorted(theirs / mine for mine, theirs in zip(times[ours], times[peer]))
    return f"{len(ratios)} rounds, the peer's time over ours {ratios[0]:.3g} to {ratios[-1]:.3g}"


def timed(function: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def difference(ours: Iterable[Tensor], peer: Iterable[Tensor]) -> float:
    """How far two lists of tensors are from each other, as a share of the peer's length (both as one vector)."""
    wrong, whole = 0.0, 0.0
    for a, b in zip(ours, peer, strict=True):
        wrong += float((a.detach().double() - b.detach().double()).square().sum())
        whole += float(b.detach().double().square().sum())
    return math.sqrt(wrong / whole) if whole else float(wrong > 0)


def has_amx() -> bool:
    """Whether bfloat16 matrices are multiplied in tiles (Intel AMX): the processor can, and oneDNN is let."""
    return cpu_has_bf16() and bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def machine() -> str:
    """The processor, its cores, what it can do in bfloat16, and the GPU if there is one."""
    parts = [_processor(), f"{cores()} cores", "AMX" if has_amx() else "no AMX"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"torch {torch.__version__}"])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """The code's commit, with a ``+`` where files differ from it."""
    state = git_state()
    return "unknown" if state["commit"] is None else state["commit"][:12] + ("+" if state["diff"] else "")


Benchmark = Callable[[Effort, Path], Sequence[Row]]
"""What a module of benchmarks calls ``rows``: how hard to measure, and an empty folder → rows."""
