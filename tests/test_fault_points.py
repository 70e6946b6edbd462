"""One kill at every named point: the run that goes on from there ends as the undisturbed one does, bit for bit."""

import ast
import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fault_run import EPOCHS, IMAGES, STEPS, TRAIN, differing, fold_folder, lines, outcome
from forked import Done, segfold
from segfold import faults
from segfold.errors import SegfoldError
from segfold.files import read_json, read_lines
from small_project import ROOT, make_project

CHAINS = [
    ["step:1", "temporary:4", "step:4", "rename:5", "line:1", "temporary:9", "prediction:13"],
    ["rename:3", "line:3", "step:4", "prediction:2", "rename:8", "weights:1", "scores:1"],
]
"""Kills in one run, each after going on from the one before."""

POINTS = sorted({kill.partition(":")[0] for chain in CHAINS for kill in chain})


def points_in_source() -> set[str]:
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fault":
                (point,) = node.args
                assert isinstance(point, ast.Constant), f"{path} line {node.lineno}: the name of a point is a literal"
                found.add(str(point.value))
    return found


def test_every_point_is_tested_and_described() -> None:
    assert sorted(points_in_source()) == POINTS
    assert faults.__doc__ is not None
    assert all(f"- ``{point}``: " in faults.__doc__ for point in POINTS)


def count_every_image() -> None:
    """Have the store count each image at once, rather than every two seconds, so that a kill finds some counted."""
    from segfold.inference import stored

    stored.StoreWriter = functools.partial(stored.StoreWriter, sync_seconds=0)  # type: ignore[misc,assignment]


def train(home: Path, run: str, *overrides: str, fault: str = "") -> Done:
    return segfold(home, *TRAIN, "--run", run, *overrides, fault=fault, before=count_every_image)


def killed(done: Done) -> bool:
    """Whether the process died by its fault; it must not have failed in another way."""
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("points"))


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> dict[str, Any]:
    done = train(home, "undisturbed")
    assert done.returncode == 0, done.stderr
    return outcome(home, "undisturbed")


def test_the_run_holds_what_a_kill_could_lose(home: Path, undisturbed: dict[str, Any]) -> None:
    assert {
        "snapshot1.safetensors",
        "snapshot2.safetensors",
        "best.safetensors",
        "swa.safetensors",
    } <= undisturbed.keys()
    found = lines(home, "undisturbed")
    assert len(found) == EPOCHS and undisturbed["done.json"]["steps"] == STEPS
    assert len({line["lr"] for line in found if line["stage"] == "warm"}) > 1  # the plateau was met


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_killed_at_one_point_after_the_other(home: Path, undisturbed: dict[str, Any], chain: list[str]) -> None:
    run = f"chain{CHAINS.index(chain)}"
    for fault in chain:
        assert killed(train(home, run, fault=fault)), fault
        assert not (fold_folder(home, run) / "done.json").exists()
    done = train(home, run)
    assert done.returncode == 0, done.stderr
    assert differing(outcome(home, run), undisturbed) == []


def test_killed_beside_workers(home: Path, undisturbed: dict[str, Any]) -> None:
    """The workers outlive the kill for seconds; they hold neither the lock nor anything else that the next start needs."""
    assert killed(train(home, "workers", "machine.workers=2", fault="step:4"))
    done = train(home, "workers", "machine.workers=2")
    assert done.returncode == 0, done.stderr
    assert differing(outcome(home, "workers"), undisturbed) == []


def test_what_lies_on_disk_at_each_point(home: Path, undisturbed: dict[str, Any]) -> None:
    """The kill comes where the point's description says."""
    folder = home / "runs" / "disk" / "fold0"
    assert killed(train(home, "disk", fault="line:2"))
    log = (folder / "metrics.jsonl").read_bytes()
    assert log.count(b"\n") == 1 and not log.endswith(b"\n")
    assert killed(train(home, "disk", fault="rename:4"))
    assert len(list((home / "runs" / "disk").rglob(".*.tmp"))) == 1
    assert killed(train(home, "disk", fault="weights:1"))
    assert (folder / "model.safetensors").exists() and not (folder / "done.json").exists()
    assert killed(train(home, "disk", fault="prediction:7"))
    (part,) = folder.rglob("oof.u16.part")
    (image,) = {len(codes) // 10 for name, codes in undisturbed.items() if name.endswith("oof.u16")}
    assert read_json(part.with_name("oof.part.json"))["images"] == 6 and part.stat().st_size == 7 * image


def submit(home: Path, run: str, *arguments: str, fault: str = "") -> Done:
    command = ("submit", "--ensemble", f"runs/{run}", "--name", run, *arguments)
    return segfold(home, *command, fault=fault, before=count_every_image)


def test_submission_killed_and_made_again(home: Path, undisturbed: dict[str, Any]) -> None:
    shutil.copytree(home / "runs" / "undisturbed", home / "runs" / "copy")
    written = [home / "submissions" / f"copy.{suffix}" for suffix in ("csv", "json")]
    done = submit(home, "undisturbed")
    assert done.returncode == 0, done.stderr
    expected = (home / "submissions" / "undisturbed.csv").read_bytes()
    assert killed(submit(home, "copy", fault="prediction:8"))
    assert not any(path.exists() for path in written)
    assert submit(home, "copy").returncode == 0
    assert written[0].read_bytes() == expected
    # All is predicted now, so the CSV is the first file and its manifest the second.
    assert killed(submit(home, "copy", "--threshold", "0.9", "--force", fault="temporary:1"))
    assert written[0].read_bytes() == expected
    assert killed(submit(home, "copy", "--threshold", "0.9", "--force", fault="rename:2"))
    assert written[0].read_bytes() != expected and not written[1].exists()
    assert submit(home, "copy", "--force").returncode == 0
    assert written[0].read_bytes() == expected and written[1].exists()


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_time(home: Path, undisturbed: dict[str, Any], point: str) -> None:
    kills = 0
    for time in itertools.count(1, step=3 if point in ("temporary", "rename") else 1):
        if not killed(train(home, "every", fault=f"{point}:{time}")):
            break
        kills += 1
        done = train(home, "every")
        assert done.returncode == 0, done.stderr
        assert differing(outcome(home, "every"), undisturbed) == [], f"{point}:{time}"
        shutil.rmtree(home / "runs" / "every")
    shutil.rmtree(home / "runs" / "every")
    assert kills >= {"step": STEPS, "line": EPOCHS, "weights": 1, "scores": 1, "prediction": 2 * IMAGES}.get(point, 10)


def test_the_environment_variable_is_read(tmp_path: Path) -> None:
    code = "from segfold.files import append_line\nfor text in ('first', 'second', 'third'): append_line('log', text)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "SEGFOLD_FAULT": "line:2"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "log").read_text() == "first\nsec" and read_lines(tmp_path / "log") == ["first"]
    del environment["SEGFOLD_FAULT"]
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment).returncode == 0
    assert read_lines(tmp_path / "log") == ["first", "first", "second", "third"]


@pytest.mark.parametrize("text", ["step", "step:", "step:0", "step:x", ":3", "step:-1"])
def test_wrong_fault_is_refused(text: str) -> None:
    with pytest.raises(SegfoldError, match="expected point:n"):
        faults.arm(text)
    faults.fault("step")  # and nothing is armed
