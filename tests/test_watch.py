"""The board that follows a training: built first, built again when something has changed, ended by Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from board_client import make_served
from segfold.board.script import write_script
from segfold.board.watching import rest, state_of, watch
from segfold.errors import SegfoldError
from segfold.locks import Lock
from small_project import ROOT


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_served(tmp_path)


class EndError(Exception):
    pass


def turns(*steps: Callable[[], object]) -> Callable[[float], None]:
    """A ``wait`` that does one step each time it is called, and ends after the last."""
    left = iter(steps)

    def wait(seconds: float) -> None:
        assert seconds >= 3
        step = next(left, None)
        if step is None:
            raise EndError
        step()

    return wait


def test_it_builds_first_and_again_when_something_changed(home: Path) -> None:
    built, said = [], []

    def build() -> None:
        built.append(len(built))
        if len(built) in (3, 4):
            raise SegfoldError("the disk is full")
        write_script(home / "runs/board-files/board.js", "board", {"made": f"build {len(built)}"})
        (home / "runs/unet/report.html").write_text(str(len(built)))

    def shows(*expected: int) -> None:
        """Checks which builds there were, and that the page is told of the last one that went well."""
        made = json.loads(get_at(said[0].split()[0], "changes.json"))["made"]
        assert (len(built), made) == (expected[0], f"build {expected[1]}")

    steps = [
        lambda: shows(1, 1),
        lambda: (home / "runs/unet/fold0/metrics.jsonl").write_text("{}\n"),
        lambda: shows(2, 2),
        lambda: (home / "submissions/y.csv").write_text("y"),  # the third build fails
        lambda: shows(3, 2),  # and is tried again, which fails as well and is not said again
        lambda: shows(4, 2),
        lambda: shows(5, 5),
        lambda: shows(5, 5),
    ]
    with pytest.raises(EndError):
        watch(home, build, port=0, say=said.append, wait=turns(*steps))
    assert len(built) == 5 and said[1:] == ["the board stays as it is: the disk is full"]
    with pytest.raises(OSError):
        get_at(said[0].split()[0], "")


def get_at(address: str, name: str) -> bytes:
    with urllib.request.urlopen(address + name, timeout=60) as answer:
        return bytes(answer.read())


def test_what_counts_as_a_change(home: Path) -> None:
    before = state_of(home)
    for name in ("report.html", "fold0/tensorboard/x", "fold0/.done.json.tmp", "fold0/pred/oof.u16.part"):
        (home / "runs/unet" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "runs/unet" / name).write_text("new")
    (home / "runs/board-files/board.js").write_text("new")
    assert state_of(home) == before
    (home / "runs/unet/fold0/last.pt").write_text("1")
    begun = state_of(home)
    (home / "runs/unet/fold0/last.pt").write_text("22")
    assert state_of(home) == begun != before
    with Lock(home / "runs/unet/fold0/lock"):
        training = state_of(home)
    assert len({begun, training, state_of(home)}) == 3  # who trains is asked, not only what was written
    states = [state_of(home)]
    for name in ("runs/new/config.yaml", "runs/unet/fold0/done.json", "submissions/ledger.jsonl", "audit/alike.csv"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("new")
        states.append(state_of(home))
    assert len(set(states)) == len(states)


def test_a_signal_right_before_a_sleep_is_seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the process between two instructions of the interpreter, the sleep ahead of it, does not end that sleep."""
    naps: list[float] = []

    class SeenError(Exception):
        pass

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:  # the handler runs when a sleep is over
            raise SeenError

    monkeypatch.setattr("segfold.board.watching.time.sleep", sleep)
    with pytest.raises(SeenError):
        rest(86400)
    assert max(naps) <= 0.5
    naps.clear()
    rest(0)
    assert not naps


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, segfold.board.build as build\n"
        "build.build_board = lambda home, observer: None\n"
        "from segfold.cli import main\n"
        "sys.exit(main(['watch', '--port', '0', '--every', '86400']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        line = process.stdout.readline()
        with socket.create_connection(("127.0.0.1", int(re.search(r":(\d+)/", line)[1]))) as client:  # type: ignore[index]
            client.sendall(b"GET / HT")  # a client in the middle of a request
            process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=120)
            finally:
                process.kill()  # else leaving the block would wait for it without end
    assert process.returncode == 130 and len(errors.splitlines()) == 1
