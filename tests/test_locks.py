"""The lock of a fold: one training at a time, free as soon as its holder is gone."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from python_process import run_python
from segfold.errors import SegfoldError
from segfold.locks import FoldLock

HOLD = """
import os, sys, time
from segfold.locks import FoldLock
with FoldLock(sys.stdin.readline().strip()):
    FORK
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


# The worker speaks first, so that it is known to have begun when its parent is killed.
FORK = """read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"!")
        time.sleep(60)
    os.read(read, 1)
    print(child)"""


def hold(path: Path, fork: str = "") -> subprocess.Popen:
    process = run_python(HOLD.replace("FORK", fork), stdin=subprocess.PIPE)
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    return process


def test_second_training_says_who_holds_the_lock(tmp_path):
    path = tmp_path / "fold0" / "lock"
    process = hold(path)
    pid = process.stdout.readline().strip()
    with pytest.raises(SegfoldError, match=f"process {pid} on .* since 20") as caught, FoldLock(path):
        pass
    assert "\n" not in str(caught.value) and "training this fold" in str(caught.value)
    process.kill()
    process.wait()
    refused = pytest.raises(SegfoldError, match=f"process {os.getpid()} ")
    with FoldLock(path), refused, FoldLock(path):  # a killed holder holds nothing
        pass
    with FoldLock(path, "predicting"):
        pass


def test_forked_worker_does_not_keep_the_lock_of_a_killed_parent(tmp_path):
    path = tmp_path / "lock"
    process = hold(path, fork=FORK)
    child, _ = process.stdout.readline(), process.stdout.readline()
    process.kill()
    process.wait()
    try:
        os.kill(int(child), 0)  # the worker is still there
        with FoldLock(path):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_waiting_lock_waits(tmp_path):
    process = hold(tmp_path / "lock")
    process.stdout.readline()
    started = time.monotonic()
    subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {process.pid}"])
    with FoldLock(tmp_path / "lock", wait=True):
        assert time.monotonic() - started > 0.25
    process.wait()
