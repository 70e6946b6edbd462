"""Kills, signals, locks and time limits, on real processes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from small_project import ROOT, make_project, same, segfold

LONG = (
    "train",
    "--config",
    "configs/small.yaml",
    "--fold",
    "0",
    "stages.warm.epochs=8",
    "stages.lovasz.epochs=4",
    "machine.workers=1",
)


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "segfold", *arguments],
        cwd=home,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def epochs(home: Path, run: str) -> int:
    path = home / "runs" / run / "fold0" / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(process: "subprocess.Popen[str]", home: Path, run: str, count: int) -> None:
    while process.poll() is None and epochs(home, run) < count:
        time.sleep(0.005)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> dict[str, np.ndarray]:
    done = segfold(home, *LONG, "--run", "undisturbed")
    assert done.returncode == 0, done.stderr
    return load_file(home / "runs/undisturbed/fold0/model.safetensors")


def test_killed_at_five_moments_ends_the_same(home: Path, undisturbed: dict[str, np.ndarray]) -> None:
    draw = random.Random(0)
    for count in (0, 2, 4, 7, 10):
        process = start(home, *LONG, "--run", "killed")
        wait_for(process, home, "killed", count)
        time.sleep(draw.uniform(0, 0.15))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = segfold(home, *LONG, "--run", "killed")
    assert done.returncode == 0, done.stderr
    assert same(load_file(home / "runs/killed/fold0/model.safetensors"), undisturbed)
    assert epochs(home, "killed") == 12
    leftovers = [path.name for path in (home / "runs/killed").rglob("*") if ".tmp" in path.name]
    assert leftovers == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_say_so(
    home: Path, undisturbed: dict[str, np.ndarray], number: signal.Signals, code: int
) -> None:
    run = f"signal{code}"
    process = start(home, *LONG, "--run", run)
    wait_for(process, home, run, 3)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "goes on from here" in errors and "Traceback" not in errors
    done = segfold(home, *LONG, "--run", run)
    assert done.returncode == 0 and "going on after" in done.stdout
    assert same(load_file(home / f"runs/{run}/fold0/model.safetensors"), undisturbed)


def test_two_trainings_of_one_fold(home: Path) -> None:
    first = start(home, *LONG, "--run", "twice", "stages.warm.epochs=2000")
    wait_for(first, home, "twice", 1)
    second = segfold(home, *LONG, "--run", "twice", "stages.warm.epochs=2000")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr and "wait for it or stop it" in second.stderr


def test_minutes_stops_resumably(home: Path, undisturbed: dict[str, np.ndarray]) -> None:
    stopped = segfold(home, *LONG, "--run", "minutes", "minutes=0.0001")
    assert stopped.returncode == 0 and "stopped after" in stopped.stdout
    assert not (home / "runs/minutes/fold0/done.json").exists()
    done = segfold(home, *LONG, "--run", "minutes")
    assert done.returncode == 0, done.stderr
    assert same(load_file(home / "runs/minutes/fold0/model.safetensors"), undisturbed)


def test_a_finished_fold_says_so(home: Path, undisturbed: dict[str, np.ndarray]) -> None:
    before = (home / "runs/undisturbed/fold0/model.safetensors").stat().st_mtime_ns
    done = segfold(home, *LONG, "--run", "undisturbed")
    assert done.returncode == 0 and "is done" in done.stdout
    assert (home / "runs/undisturbed/fold0/model.safetensors").stat().st_mtime_ns == before
