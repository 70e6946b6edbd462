"""Kills at any moment, locks and time limits, on real processes."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from fault_run import EPOCHS, TRAIN, differing, epochs, fold_folder, outcome
from forked import Running, segfold, start
from small_project import make_project

RUN = (*TRAIN, "machine.workers=1")


def wait_for(running: Running, home: Path, run: str, count: int) -> None:
    while not running.ended and epochs(home, run) < count:
        time.sleep(0.005)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> dict[str, Any]:
    done = segfold(home, *RUN, "--run", "undisturbed")
    assert done.returncode == 0, done.stderr
    return outcome(home, "undisturbed")


def test_killed_at_five_moments_ends_the_same(home: Path, undisturbed: dict[str, Any]) -> None:
    draw = random.Random(0)
    for count in (0, 1, 3, 4, 5):
        running = start(home, *RUN, "--run", "killed")
        wait_for(running, home, "killed", count)
        time.sleep(draw.uniform(0, 0.05))
        running.signal(signal.SIGKILL)
        assert running.wait().returncode == -signal.SIGKILL
    done = segfold(home, *RUN, "--run", "killed")
    assert done.returncode == 0, done.stderr
    assert differing(outcome(home, "killed"), undisturbed) == []
    assert epochs(home, "killed") == EPOCHS
    leftovers = [path.name for path in (home / "runs/killed").rglob("*") if ".tmp" in path.name]
    assert leftovers == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_random_moments_ends_the_same(home: Path, undisturbed: dict[str, Any], seed: int) -> None:
    """Ten kills in each of five runs, at moments spread evenly over what an undisturbed run takes."""
    draw, run = random.Random(seed), f"random{seed}"
    began = time.monotonic()
    assert segfold(home, *RUN, "--run", f"timed{seed}").returncode == 0
    duration = time.monotonic() - began
    kills = 0
    while kills < 10:
        running = start(home, *RUN, "--run", run)
        time.sleep(draw.uniform(0, duration))
        running.signal(signal.SIGKILL)
        if running.wait().returncode == -signal.SIGKILL:
            kills += 1
        else:  # it was done first
            assert differing(outcome(home, run), undisturbed) == []
            run += "again"
    done = segfold(home, *RUN, "--run", run)
    assert done.returncode == 0, done.stderr
    assert differing(outcome(home, run), undisturbed) == []


def test_two_trainings_of_one_fold(home: Path) -> None:
    first = start(home, *RUN, "--run", "twice", "stages.warm.epochs=2000")
    wait_for(first, home, "twice", 1)
    before = fold_folder(home, "twice").joinpath("metrics.jsonl").read_bytes()
    second = segfold(home, *RUN, "--run", "twice", "stages.warm.epochs=2000")
    assert not first.ended
    first.signal(signal.SIGKILL)
    assert first.wait().returncode == -signal.SIGKILL
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert f"process {first.pid}" in line and "wait for it or stop it" in line
    # The first one noticed nothing: its log went on, and the next start takes the fold over.
    assert fold_folder(home, "twice").joinpath("metrics.jsonl").read_bytes().startswith(before)
    stopped = segfold(home, *RUN, "--run", "twice", "stages.warm.epochs=2000", "minutes=0.0001")
    assert stopped.returncode == 0 and "going on after" in stopped.stdout, stopped.stderr


def test_minutes_stops_resumably(home: Path, undisturbed: dict[str, Any]) -> None:
    stopped = segfold(home, *RUN, "--run", "minutes", "minutes=0.0001")
    assert stopped.returncode == 0 and "stopped after" in stopped.stdout
    assert not (fold_folder(home, "minutes") / "done.json").exists()
    done = segfold(home, *RUN, "--run", "minutes")
    assert done.returncode == 0, done.stderr
    assert differing(outcome(home, "minutes"), undisturbed) == []


def test_a_finished_fold_says_so(home: Path, undisturbed: dict[str, Any]) -> None:
    before = (fold_folder(home, "undisturbed") / "model.safetensors").stat().st_mtime_ns
    done = segfold(home, *RUN, "--run", "undisturbed")
    assert done.returncode == 0 and "is done" in done.stdout
    assert (fold_folder(home, "undisturbed") / "model.safetensors").stat().st_mtime_ns == before
