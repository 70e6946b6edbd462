"""The roads that other machines take: bfloat16 (emulated where the processor has none) and compiled networks.

The other tests pin float32, one thread and no compiling, so that they say the same on every machine; here the whole
road runs otherwise on purpose: trained, validated, killed, resumed and predicted, bit for bit as without the kills.
"""

import functools
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from fault_run import TRAIN, differing, fold_folder, outcome
from forked import Done, segfold
from segfold.files import read_json
from small_project import make_project

BF16 = ("machine.precision=bf16",)
COMPILED = ("machine.compile=true",)
KILLS = ["step:4", "line:2", "prediction:7"]
SHORT = ("stages.warm.epochs=2", "stages.lovasz={epochs: 1, snapshots: false, schedule: constant}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("lanes"))


def count_every_image() -> None:
    """Have the store count each image at once, rather than every two seconds, so that a kill finds some counted."""
    from segfold.inference import stored

    stored.StoreWriter = functools.partial(stored.StoreWriter, sync_seconds=0)  # type: ignore[misc,assignment]


def run(home: Path, verb: tuple[str, ...], fault: str = "") -> Done:
    return segfold(home, *verb, fault=fault, before=count_every_image)


def finished(home: Path, verb: tuple[str, ...]) -> Done:
    done = run(home, verb)
    assert done.returncode == 0, done.stderr
    return done


def killed(home: Path, verb: tuple[str, ...], kills: list[str]) -> None:
    for fault in kills:
        done = run(home, verb, fault)
        assert done.returncode == -signal.SIGKILL, (fault, done)


@pytest.fixture(scope="module")
def whole(home: Path) -> dict[str, Any]:
    """The undisturbed run in bfloat16."""
    finished(home, (*TRAIN, *SHORT, *BF16, "--run", "whole"))
    return outcome(home, "whole")


def test_bfloat16_killed_and_resumed(home: Path, whole: dict[str, Any]) -> None:
    train = (*TRAIN, *SHORT, *BF16, "--run", "parts")
    killed(home, train, KILLS)
    finished(home, train)
    assert differing(outcome(home, "parts"), whole) == []


def test_bfloat16_is_no_float32_under_another_name(home: Path, whole: dict[str, Any]) -> None:
    finished(home, (*TRAIN, *SHORT, "--run", "float"))
    first, other = (found["metrics.jsonl"][0] for found in (whole, outcome(home, "float")))
    assert whole["done.json"]["precision"] == "bf16"
    assert first["loss"] != other["loss"] and first["loss"] == pytest.approx(other["loss"], rel=0.05)
    assert all(0 <= line["score"] <= 1 for line in whole["metrics.jsonl"] if "score" in line)


def test_bfloat16_submission_killed_and_made_again(home: Path, whole: dict[str, Any]) -> None:
    shutil.copytree(home / "runs/whole", home / "runs/copy")
    finished(home, ("submit", "--ensemble", "runs/whole"))
    killed(home, ("submit", "--ensemble", "runs/copy"), ["prediction:3"])
    finished(home, ("submit", "--ensemble", "runs/copy"))
    first, second = (
        (fold_folder(home, name) / "pred/model-identity/test.u16").read_bytes() for name in ("whole", "copy")
    )
    assert first == second and len(set(first)) > 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler, which torch.compile needs on a CPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_killed_and_resumed(home: Path, precision: str) -> None:
    train = (*TRAIN, *SHORT, *COMPILED, f"machine.precision={precision}", "--run")
    done = finished(home, (*train, f"whole-{precision}"))
    assert "torch.compile failed" not in done.stdout
    assert [line for line in done.stderr.splitlines() if not line.startswith("decoding ")] == []
    killed(home, (*train, f"parts-{precision}"), KILLS)
    finished(home, (*train, f"parts-{precision}"))
    whole = outcome(home, f"whole-{precision}")
    assert differing(outcome(home, f"parts-{precision}"), whole) == []
    assert read_json(fold_folder(home, f"whole-{precision}") / "done.json")["precision"] == precision
