"""``torchrun`` on two processes: the whole road of a fold, with one of each file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segfold.errors import SegfoldError
from segfold.training import Group
from segfold.training.checks import check_stages
from small_project import ROOT, fold_job, make_project


def torchrun(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    environment.pop("OMP_NUM_THREADS", None)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            str(ROOT / "train.py"),
            *arguments,
        ],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def test_two_processes_train_one_fold(project: Path) -> None:
    done = torchrun(project, "--config", "configs/small.yaml", "--fold", "0")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("fold 0: 10 images") == 1
    fold = project / "runs/small/fold0"
    record = json.loads((fold / "done.json").read_text())
    assert record["steps"] == 6 and record["samples"] == 24
    assert len((fold / "metrics.jsonl").read_text().splitlines()) == 3
    held_out = record["held_out"]
    table = (fold / "pred/model-identity+hflip/oof.csv").read_text().splitlines()[1:]
    ids = [line.split(",")[0] for line in table]
    assert ids == held_out and len(set(ids)) == len(ids) == 10


@pytest.mark.slow
def test_stopped_gone_on_with_and_done(project: Path) -> None:
    arguments = ("--config", "configs/small.yaml", "--fold", "1")
    stopped = torchrun(project, *arguments, "minutes=0.0001")
    assert stopped.returncode == 0, stopped.stderr[-2000:]
    fold = project / "runs/small/fold1"
    assert not (fold / "done.json").exists() and (fold / "last.pt").exists()
    done = torchrun(project, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("fold 1: going on after") == 1
    assert json.loads((fold / "done.json").read_text())["steps"] == 6
    again = torchrun(project, *arguments)
    assert again.returncode == 0 and again.stdout.count("is done") == 1


def test_a_batch_that_cannot_be_shared_is_refused(project: Path) -> None:
    job = fold_job(project, "batch_size=5")
    with pytest.raises(SegfoldError, match=r"^stage warm: a batch of 5 cannot be shared out evenly to 2 processes"):
        check_stages(job, Group(0, 2))
    check_stages(job, Group(0, 1))


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_one_line(project: Path) -> None:
    done = torchrun(project, "--config", "configs/small.yaml", "--fold", "1", "--name", "odd", "batch_size=5")
    assert done.returncode != 0
    assert "a batch of 5 cannot be shared out evenly to 2 processes" in done.stderr + done.stdout
