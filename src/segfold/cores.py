"""How many cores this process may use: what the machine has, less what the system holds back."""

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def cores() -> int:
    """Cores that this process may keep busy, at least 1: its affinity (Linux), and its group's CPU quota.

    A quota of one and a half cores counts as one: threads that wait for each other would be stopped together.
    """
    # macOS has no affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, allowed if quota is None else min(allowed, int(quota)))


@cache
def _quota() -> float | None:
    return cpu_quota()


def cpu_quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that a container, a batch system or systemd grants this process; None without a limit.

    Args:
        groups: where the control groups are mounted, of version 2 or 1.
        own: the file that names this process's groups.
    """
    found = [quota for folder in _folders(groups, own) if (quota := _limit(folder)) is not None]
    return min(found, default=None)


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """The process's groups and all that hold them: the least of their limits holds."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in own.read_text().splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            if controllers and "cpu" not in controllers.split(","):
                continue
            root = groups / controllers if controllers else groups
            inside = root / path.lstrip("/")
            yield from (inside, *(parent for parent in inside.parents if parent.is_relative_to(root)))
    # Inside a container the named path may be the host's, and the mount the container's own.
    yield from (groups, groups / "cpu", groups / "cpu,cpuacct")


def _limit(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    return None
