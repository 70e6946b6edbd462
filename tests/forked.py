"""``segfold …`` in processes forked from one that has all imports behind it, so that dozens of kills are affordable."""

import atexit
import contextlib
import fcntl
import functools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from pathlib import Path

from small_project import ROOT

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["forked_imports"])
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "COLUMNS": "200",
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests"))),
}
_PIPE_BYTES = 1 << 20
_running: "set[Running]" = set()


@dataclass(frozen=True)
class Done:
    """How a process ended: its exit code, or the negative number of the signal that killed it."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A process under way, the leader of its own group."""

    def __init__(self, process: multiprocessing.process.BaseProcess, pipes: tuple[Connection, Connection]) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process, self._pipes = process, pipes
        _running.add(self)

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, as a terminal or a scheduler sends it."""
        with contextlib.suppress(ProcessLookupError):
            while os.getpgid(self.pid) != self.pid:
                time.sleep(0.001)
            os.killpg(self.pid, number)

    def wait(self, seconds: float = 120) -> Done:
        """The end of the process; it is killed, and the test fails, if there is none in time."""
        self._process.join(seconds)
        late = not self.ended
        if late:
            self.signal(signal.SIGKILL)
            self._process.join()
        _running.discard(self)
        # Not up to the end of the pipe, which workers of a killed process hold open for a while.
        texts = [_read_what_is_there(pipe) for pipe in self._pipes]
        assert not late, f"still running after {seconds:g} s: {texts}"
        assert self._process.exitcode is not None
        return Done(self._process.exitcode, *texts)


def _read_what_is_there(pipe: Connection) -> str:
    os.set_blocking(pipe.fileno(), False)
    found = b""
    with pipe, contextlib.suppress(BlockingIOError):
        while part := os.read(pipe.fileno(), _PIPE_BYTES):
            found += part
    return found.decode()


@contextlib.contextmanager
def _changed_environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@functools.cache
def _start_server() -> None:
    with _changed_environment():
        ensure_running()
    atexit.register(lambda: [running.signal(signal.SIGKILL) for running in list(_running)])


def start(home: Path, *arguments: str, fault: str = "", before: Callable[[], object] | None = None) -> Running:
    """Start ``segfold …`` in ``home``.

    Args:
        fault: what ``SEGFOLD_FAULT`` would hold.
        before: called in the process first; a function of a module, or a ``functools.partial`` of one.
    """
    _start_server()
    readers, writers = zip(*(_CONTEXT.Pipe(duplex=False) for _ in range(2)))
    process = _CONTEXT.Process(target=_run, args=(home, arguments, fault, before, *writers))
    process.start()
    for writer in writers:
        writer.close()
    return Running(process, readers)


def segfold(home: Path, *arguments: str, fault: str = "", before: Callable[[], object] | None = None) -> Done:
    """Run ``segfold …`` in ``home`` to its end."""
    return start(home, *arguments, fault=fault, before=before).wait()


def _run(
    home: Path,
    arguments: tuple[str, ...],
    fault: str,
    before: Callable[[], object] | None,
    stdout: Connection,
    stderr: Connection,
) -> None:
    os.setsid()
    for number, pipe in ((1, stdout), (2, stderr)):
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.dup2(pipe.fileno(), number)
        pipe.close()
    assert "forked_imports" in sys.modules, "the server did not import what it should"
    tasks = Path(f"/proc/{os.getppid()}/task")
    threads = len(list(tasks.iterdir())) if tasks.exists() else 1
    assert threads == 1, f"forked from a process of {threads} threads"
    multiprocessing.set_start_method("fork", force=True)  # for the loaders' workers, as in a process of its own
    if before is not None:
        before()
    from segfold import faults
    from segfold.cli import main

    os.chdir(home)
    faults.arm(fault)
    sys.exit(main(arguments))
