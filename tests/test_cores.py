"""Cores that a process may use: affinity, and the CPU quota of its control group."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from segfold import cores as module
from segfold.cores import cores, cpu_quota
from segfold.layouts import rle
from segfold.layouts.ahead import map_files
from segfold.machine import resolve
from segfold.metrics import overlap
from segfold.settings import Machine
from small_project import ROOT


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        # A batch system: the limit stands in the process's own group, or in one that holds it; the least counts.
        ({"a/b/cpu.max": "200000 100000\n"}, "0::/a/b\n", 2),
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 3),
        ({"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "800000 100000\n"}, "0::/a/b\n", 1),
        ({"other/cpu.max": "100000 100000\n"}, "0::/a\n", None),
        # A container that sees its own group as the root, while the file names the host's path.
        ({"cpu.max": "400000 100000\n"}, "0::/docker/0123\n", 4),
        # Version 1.
        (
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/d/cpu.cfs_period_us": "100000\n"},
            "4:memory:/d\n3:cpu,cpuacct:/d\n",
            2.5,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:cpu:/\n", None),
        ({"cpu.max": "nonsense\n"}, "no colons\n", None),
        ({}, "", None),
    ],
)
def test_quota(tmp_path: Path, files: dict[str, str], own: str, expected: float | None) -> None:
    write(tmp_path / "groups", files)
    write(tmp_path, {"own": own})
    assert cpu_quota(tmp_path / "groups", tmp_path / "own") == expected


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path / "nothing") is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (1.5, 1), (0.2, 1), (3.0, 3), (64.0, 8)])
def test_the_lesser_of_affinity_and_quota(monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(module, "_quota", lambda: quota)
    assert cores() == expected


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(module, "_quota", lambda: None)
    assert cores() == 6


def test_all_that_asks_for_cores_works_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, where the function is not there."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    masks = np.ones((3, 2000, 2000), np.uint8)
    assert rle.encode_batch(masks) == ["1 4000000"] * 3
    assert overlap(masks, masks).inter.tolist() == [4000000] * 3
    assert list(map_files(str, range(3))) == ["0", "1", "2"]
    before = torch.get_num_threads()
    assert resolve(Machine(device="cpu")).threads >= 1
    torch.set_num_threads(before)


def test_nothing_asks_the_system_for_cores_but_this() -> None:
    """Whoever counts cores by other means forgets the quota, or fails where there is no affinity."""
    asking = [
        str(path.relative_to(ROOT))
        for folder in ("src", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if any(word in path.read_text() for word in ("sched_getaffinity", "NUMBA_NUM_THREADS", "process_cpu_count"))
    ]
    assert asking == ["src/segfold/cores.py"]
