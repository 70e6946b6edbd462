"""The commands as they are typed in a plain shell."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segfold.cli import VERBS
from segfold.cli.shell import time_span
from small_project import ROOT


def run(*command: str, cwd: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env={**environment, **variables}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    done = run(sys.executable, "-m", "segfold", verb, "--help", PYTHONPATH=str(ROOT / "src"))
    assert done.returncode == 0 and f"segfold {verb}" in done.stdout and len(done.stdout.splitlines()) > 3


def test_help_is_quick() -> None:
    times = []
    for _ in range(5):
        began = time.monotonic()
        run(sys.executable, "-m", "segfold", "train", "--help", PYTHONPATH=str(ROOT / "src"))
        times.append(time.monotonic() - began)
    assert min(times) < 0.5


@pytest.mark.parametrize("script", ["train.py", "submit.py"])
def test_scripts_work_beside_a_venv_that_is_not_active(script: str, tmp_path: Path) -> None:
    """An interpreter without the dependencies goes on in the repository's ``.venv``, with the same arguments."""
    shutil.copy(ROOT / script, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src")
    arguments = ["--config", "x.yaml", "--fold", "0"] if script == "train.py" else ["--ensemble", "runs/x"]
    # -I -S: no site-packages, as where nothing is installed.
    alone = run(sys.executable, "-I", "-S", str(tmp_path / script), *arguments, cwd=tmp_path)
    assert alone.returncode == 2 and "make setup" in alone.stderr and "Traceback" not in alone.stderr
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "venv runs: $@"\n')
    python.chmod(0o755)
    moved = run(sys.executable, "-I", "-S", str(tmp_path / script), *arguments, cwd=tmp_path)
    assert moved.returncode == 0 and f"{tmp_path / script} {' '.join(arguments)}" in moved.stdout


def test_scripts_work_where_the_dependencies_are(tmp_path: Path) -> None:
    done = run(sys.executable, str(ROOT / "submit.py"), "--ensemble", "runs/x", cwd=tmp_path)
    assert done.returncode == 2 and "no usable run" in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("9h", 32_400), ("1h30m", 5_400), ("1h0m5s", 3_605), ("0", 0)]
)
def test_spans_of_time(text: str, seconds: float) -> None:
    assert time_span(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "5m1h", "1.5h", "-1s", "10 m", "1d", "٣s", "9" * 9 + "s"])
def test_what_is_no_span_of_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected 90s, 10m, 9h, 1h30m or 0"):
        time_span(text)


def test_make_lists_its_targets() -> None:
    listed = run("make", "help").stdout
    for target in (
        "demo",
        "test",
        "setup",
        "data",
        "folds",
        "look",
        "train",
        "cv",
        "predict",
        "submit",
        "upload",
        "sync",
        "record",
        "check-csv",
        "score",
    ):
        assert f"  {target} — " in listed
