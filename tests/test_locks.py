"""The lock of a fold: one training at a time, free as soon as its holder is gone."""

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from python_process import run_python
from segfold.errors import SegfoldError
from segfold.locks import Lock, lock_holder

HOLD = """
import os, sys, time
from segfold.locks import Lock
with Lock(sys.stdin.readline().strip()):
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
    with pytest.raises(SegfoldError, match=f"process {pid} on .* since 20") as caught, Lock(path):
        pass
    assert "\n" not in str(caught.value) and "training this fold" in str(caught.value)
    process.kill()
    process.wait()
    refused = pytest.raises(SegfoldError, match=f"process {os.getpid()} ")
    with Lock(path), refused, Lock(path):  # a killed holder holds nothing
        pass
    with Lock(path, "predicting"):
        pass


def test_forked_worker_does_not_keep_the_lock_of_a_killed_parent(tmp_path):
    path = tmp_path / "lock"
    process = hold(path, fork=FORK)
    child, _ = process.stdout.readline(), process.stdout.readline()
    process.kill()
    process.wait()
    try:
        os.kill(int(child), 0)  # the worker is still there
        with Lock(path):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)


WAIT = """
import sys
from pathlib import Path
from segfold.locks import alone_in
with alone_in(Path(FOLDER)):
    print("in", flush=True)
    sys.stdin.readline()
"""


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    """The second waits, and its turn comes when the first is killed."""
    code = WAIT.replace("FOLDER", repr(str(tmp_path / "new")))
    processes = [run_python(code, stdin=subprocess.PIPE) for _ in range(2)]
    ready, _, _ = select.select([process.stdout for process in processes], [], [], 30)
    (first,) = (process for process in processes if process.stdout is ready[0])
    (second,) = (process for process in processes if process is not first)
    assert first.stdout.readline() == "in\n"
    assert select.select([second.stdout], [], [], 0.5)[0] == []
    first.kill()
    first.wait()
    assert second.stdout.readline() == "in\n"
    second.communicate("\n")
    assert second.returncode == 0


def test_whoever_looks_sees_the_holder_and_takes_no_lock(tmp_path, monkeypatch):
    path = tmp_path / "fold0" / "lock"
    assert lock_holder(path) is None
    process = hold(path)
    pid = int(process.stdout.readline())
    monkeypatch.setattr(fcntl, "flock", None)  # even one that is given up at once could make a training fail
    monkeypatch.setattr(fcntl, "lockf", None)
    holder = lock_holder(path)
    assert holder is not None and (holder.pid, holder.host) == (pid, socket.gethostname())
    process.kill()
    process.wait()
    assert path.exists() and lock_holder(path) is None


def test_a_lock_whose_process_is_another_one_now_is_free(tmp_path):
    path = tmp_path / "lock"
    with Lock(path):
        assert lock_holder(path) is not None
    assert json.loads(path.read_text())["pid"] == os.getpid()  # which lives, and does not have the file open
    assert lock_holder(path) is None
    for pid in (0, -1, True, "1", 2**80, None, 999_999_999):
        path.write_text(json.dumps({"pid": pid, "host": socket.gethostname(), "since": "2026-01-01 00:00:00"}))
        assert lock_holder(path) is None, pid
    for text in ("", "{", "[]", "[" * 100_000, "\0"):
        path.write_text(text)
        assert lock_holder(path) is None, text[:9]


def test_a_lock_of_another_host_holds_as_long_as_something_is_written(tmp_path):
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere", "since": "2026-01-01 00:00:00"}))
    assert lock_holder(path) is not None
    os.utime(path, (0, 0))
    assert lock_holder(path) is None
    (tmp_path / "last.pt").touch()
    assert lock_holder(path) is not None
