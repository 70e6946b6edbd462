"""A disk that fills while a fold trains or a submission is written: one line, exit 2, and nothing that was there is lost."""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fault_run import TRAIN, differing, outcome
from forked import Done, segfold
from small_project import make_project

SIZE = "64m"
SUBMIT = ("submit", "--ensemble", "runs/full", "--name", "good")

TARGETS = [
    ("metrics.jsonl", 1),
    ("tensorboard", 1),
    ("last.pt", 2),
    ("snapshot1.safetensors", 1),
    ("oof.u16.part", 1),
    ("model.safetensors", 1),
    ("oof.csv", 1),
    ("meta.json", 1),
    ("done.json", 1),
]
"""Files, and at which writing of each the disk is full: one after the other in one training.

``tensorboard`` is the writing of an epoch's curves.
"""


@dataclass(frozen=True)
class Disk:
    """A working folder whose disk can be full."""

    home: Path
    """As its processes know it."""
    seen: Path
    """As this process sees it."""
    namespace: int | None
    """The process in whose mount namespace it is a file system; without one, "full" is a limit on a file's size."""

    def segfold(self, *arguments: str, full_at: str | None = None, times: int = 1) -> Done:
        return segfold(
            self.home, *arguments, before=functools.partial(prepare, self.home, self.namespace, full_at, times)
        )

    def free(self) -> None:
        (self.seen / "ballast").unlink(missing_ok=True)


def prepare(home: Path, namespace: int | None, full_at: str | None, times: int) -> None:
    """In the process: enter the disk's namespace; have the disk full when ``full_at`` is written the n-th time."""
    if namespace is not None:
        _enter(namespace)
    if full_at is None:
        return
    from segfold import files
    from segfold.store.writer import StoreWriter
    from segfold.training.curves import Curves

    seen = []

    def reached(name: str, path: Path | None) -> None:
        seen.append(name)
        if name == full_at and seen.count(name) == times:
            former = path.read_bytes() if path is not None and path.exists() else b""
            (home / "former").write_text(hashlib.sha256(former).hexdigest())
            _fill(home, namespace)

    open_temporary, end_of_lines = files._open_temporary, files._end_of_whole_lines
    append, curves = StoreWriter.append_rows, Curves.add

    def open_and_fill(path: Path, mode: str) -> Any:
        reached(path.name, path)
        return open_temporary(path, mode)

    def seek_and_fill(file: Any) -> int:
        reached("metrics.jsonl", None)
        return end_of_lines(file)

    def append_and_fill(self: StoreWriter, *arguments: Any) -> None:
        if self.count == 3:
            reached(self._part.name, None)
        append(self, *arguments)

    def fill_and_curves(self: Curves, *arguments: Any) -> None:
        reached("tensorboard", None)
        curves(self, *arguments)

    files._open_temporary = open_and_fill
    files._end_of_whole_lines = seek_and_fill
    StoreWriter.append_rows = append_and_fill  # type: ignore[method-assign]
    Curves.add = fill_and_curves  # type: ignore[method-assign]


def _enter(process: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY)
    if libc.setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)


def _fill(home: Path, namespace: int | None) -> None:
    if namespace is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return
    with (home / "ballast").open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12):
            try:
                while ballast.write(bytes(size)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


@contextlib.contextmanager
def tmpfs(tmp_path: Path) -> Iterator[Disk | None]:
    """A file system that only processes of its own mount namespace see and that ends with them; None if refused."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={SIZE} none '{folder}' && echo ready && exec cat"
    command = ["unshare", "--mount", "sh", "-c", mount]
    try:
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        yield None
        return
    with holder:
        assert holder.stdout is not None and holder.stdin is not None
        if holder.stdout.readline() == b"ready\n":
            seen = Path(f"/proc/{holder.pid}/root") / folder.relative_to("/")
            yield Disk(folder / "home", make_project(seen / "home"), holder.pid)
        else:
            yield None
        holder.stdin.close()


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A file system of its own where this user may mount one; else, or if asked for, a limit on the size of files."""
    with tmpfs(tmp_path) as found:
        if found is None or request.param == "limit":
            home = make_project(tmp_path / "home")
            found = Disk(home, home, None)
        yield found


both = pytest.mark.parametrize("disk", ["tmpfs", pytest.param("limit", marks=pytest.mark.slow)], indirect=True)


def refused(done: Done) -> str:
    """The one line of a command that found the disk full."""
    assert done.returncode == 2, done
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("decoding"))
    assert "disk is full" in line and "free some space and run again" in line
    return line


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks and TensorBoard's."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "lock" not in path.name and "tensorboard" not in path.parts
    }


@both
def test_training_on_a_disk_that_fills(disk: Disk) -> None:
    """Full at one file after the other, each time freed and gone on: the end is that of an undisturbed run."""
    fold = disk.seen / "runs" / "full" / "fold0"
    train = (*TRAIN, "--run", "full")
    for name, times in TARGETS:
        line = refused(disk.segfold(*train, full_at=name, times=times))
        if name != "tensorboard":
            assert name in line
        if name not in ("metrics.jsonl", "tensorboard", "oof.u16.part"):
            (path,) = {fold / name, *fold.rglob(name)}
            assert digest(path) == (disk.seen / "former").read_text(), name
        assert not (fold / "done.json").exists()
        assert not list(disk.seen.rglob(".*.tmp"))
        if name == "last.pt" and disk.namespace is not None:
            before = contents(disk.seen)
            refused(disk.segfold(*train))  # nothing was freed yet
            assert contents(disk.seen) == before
        disk.free()
    for run in ("full", "undisturbed"):
        done = disk.segfold(*TRAIN, "--run", run)
        assert done.returncode == 0, done.stderr
    assert differing(outcome(disk.seen, "full"), outcome(disk.seen, "undisturbed")) == []


@both
def test_submission_on_a_disk_that_fills(disk: Disk) -> None:
    done = disk.segfold(*TRAIN, "--run", "full", "fast=true")
    assert done.returncode == 0, done.stderr
    refused(disk.segfold(*SUBMIT, full_at="test.u16.part"))
    assert not (disk.seen / "submissions" / "good.csv").exists()
    disk.free()
    assert disk.segfold(*SUBMIT).returncode == 0
    before = contents(disk.seen / "submissions") | contents(disk.seen / "runs")
    assert {"good.csv", "good.json"} <= before.keys()
    for name in ("good.json", "good.csv"):
        refused(disk.segfold(*SUBMIT, "--threshold", "0.001", "--steps", "--force", full_at=name))
        disk.free()
        assert contents(disk.seen / "submissions") | contents(disk.seen / "runs") == before
    done = disk.segfold(*SUBMIT, "--threshold", "0.001", "--steps", "--force")
    assert done.returncode == 0, done.stderr
    assert contents(disk.seen / "submissions")["good.csv"] != before["good.csv"]
