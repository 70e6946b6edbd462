"""Ctrl-C and SIGTERM, to the whole group of processes: exit 130 and 143, and the same command goes on from there."""

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from fault_run import TRAIN, differing, fold_folder, outcome
from forked import Done, segfold
from small_project import make_project

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
RUN = (*TRAIN, "machine.workers=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("signals"))


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> dict[str, Any]:
    done = segfold(home, *RUN, "--run", "undisturbed")
    assert done.returncode == 0, done.stderr
    return outcome(home, "undisturbed")


def signal_at_the_fault(number: signal.Signals) -> None:
    """A fault sends ``number`` to the group instead of killing the process."""
    from segfold import faults

    faults.die = lambda: os.killpg(0, number)


def signal_from_the_loader(number: signal.Signals, sample: int) -> None:
    """The worker sends ``number`` to the group in its ``sample``-th sample, for which the parent then waits."""
    from segfold.data.dataset import TrainingSet

    plain, taken = TrainingSet.__getitem__, []

    def slow(self: TrainingSet, key: Any) -> Any:
        taken.append(key)
        if len(taken) == sample:
            time.sleep(0.1)
            os.killpg(0, number)
            time.sleep(0.1)
        return plain(self, key)

    TrainingSet.__getitem__ = slow  # type: ignore[method-assign]


def stopped(done: Done, code: int) -> None:
    assert done.returncode == code, done
    assert done.stderr == "segfold train: stopped; the same command goes on from here\n"


def goes_on(home: Path, run: str, undisturbed: dict[str, Any]) -> None:
    done = segfold(home, *RUN, "--run", run)
    assert done.returncode == 0, done.stderr
    assert differing(outcome(home, run), undisturbed) == []


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_from_loader_step_and_prediction(
    home: Path, undisturbed: dict[str, Any], number: signal.Signals, code: int
) -> None:
    """One training stopped in each of them in turn, and gone on to the end of the undisturbed one."""
    run, at_fault = f"signal{code}", functools.partial(signal_at_the_fault, number)
    # Eight samples are in the first epoch; for the first batch of the second one the parent can but wait.
    stopped(segfold(home, *RUN, "--run", run, before=functools.partial(signal_from_the_loader, number, 9)), code)
    done = segfold(home, *RUN, "--run", run, fault="step:1", before=at_fault)
    stopped(done, code)
    assert "going on after 1 epochs (12 samples)" in done.stdout
    done = segfold(home, *RUN, "--run", run, fault="prediction:7", before=at_fault)
    stopped(done, code)
    assert "going on after 1 epochs (16 samples)" in done.stdout
    assert list(fold_folder(home, run).rglob("oof.u16.part")) != []
    assert not (fold_folder(home, run) / "done.json").exists()
    goes_on(home, run, undisturbed)


def test_from_a_file(home: Path, undisturbed: dict[str, Any]) -> None:
    """Between and within the files, where nothing waits for the end of a step."""
    at_fault = functools.partial(signal_at_the_fault, signal.SIGTERM)
    for fault in ("temporary:4", "line:2", "weights:1"):
        stopped(segfold(home, *RUN, "--run", "files", fault=fault, before=at_fault), 143)
    goes_on(home, "files", undisturbed)


def signal_in_validation(number: signal.Signals, time: int) -> None:
    """The group gets ``number`` in the middle of the ``time``-th validation."""
    from segfold.training import validation

    plain, times = validation.predict_strips, []

    def predict(*arguments: Any, **options: Any) -> Any:
        times.append(1)
        for place, found in enumerate(plain(*arguments, **options)):
            if len(times) == time and place == 3:
                os.killpg(0, number)
            yield found

    validation.predict_strips = predict  # type: ignore[assignment]


def test_from_validation(home: Path, undisturbed: dict[str, Any]) -> None:
    """The epoch that was trained is kept, and validated by the next start; which is stopped by the other signal."""
    for (number, code), count in zip(SIGNALS, (2, 1)):
        done = segfold(home, *RUN, "--run", "validation", before=functools.partial(signal_in_validation, number, count))
        stopped(done, code)
        assert len((fold_folder(home, "validation") / "metrics.jsonl").read_text().splitlines()) == 1
    assert "going on after 1 epochs (16 samples)" in done.stdout
    goes_on(home, "validation", undisturbed)


def save_at_every_step() -> None:
    from segfold.training import loop

    loop.REFRESH_SECONDS = loop.SAVE_SECONDS = 0


def test_an_epoch_that_takes_long_is_saved_within(home: Path, undisturbed: dict[str, Any]) -> None:
    """Killed in the second step of the second epoch, it goes on after the first one, to the same end."""
    long = {"before": save_at_every_step}
    assert segfold(home, *RUN, "--run", "long", fault="step:4", **long).returncode == -signal.SIGKILL
    done = segfold(home, *RUN, "--run", "long", **long)
    assert done.returncode == 0 and "going on after 1 epochs (12 samples)" in done.stdout, done
    assert differing(outcome(home, "long"), undisturbed) == []


def test_a_state_that_is_broken_is_never_saved(home: Path) -> None:
    """A loss that is no number ends the run; within the epoch, the last good state stays."""
    run = (*RUN, "--run", "broken", "machine.workers=0")
    assert segfold(home, *run, fault="step:4", before=save_at_every_step).returncode == -signal.SIGKILL
    path = fold_folder(home, "broken") / "last.pt"
    done = segfold(home, *run, before=break_the_weights)
    assert done.returncode == 2 and "a weight is not a finite number" in done.stderr, done
    import torch

    assert all(bool(torch.isfinite(t).all()) for t in torch.load(path, weights_only=True)["network"].values())


def break_the_weights() -> None:
    """A weight becomes infinite in the first step, and time is up after it."""
    import torch

    from segfold.training.loop import Loop

    save_at_every_step()
    plain = Loop.step

    def step(self: Loop, *rest: Any) -> Any:
        found = plain(self, *rest)
        with torch.no_grad():
            next(self.learner.network.parameters()).fill_(float("inf"))
        return found

    Loop.step = step  # type: ignore[method-assign]
