"""What run folders say: every state with its reason, and no damage that hides the other runs."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import segfold.runs.record
from fuzzing import counts, fuzz, mutated, some
from made_run import change_json, made_run
from segfold import road
from segfold.board.facts import RunFacts, read_facts, read_run_facts
from segfold.errors import SegfoldError
from segfold.files import append_line, read_json, write_json
from segfold.locks import Lock
from segfold.runs.folder import FoldFolder, RunFolder
from segfold.stopping import Interrupted, Stopping
from segfold.training.processes import Group
from small_project import fold_job, make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run of both its folds."""
    home = make_project(tmp_path_factory.mktemp("facts"))
    made_run(home, "whole")
    return home


@pytest.fixture
def home(project: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    shutil.copytree(project, tmp_path / "home")
    return tmp_path / "home"


def begin(fold: FoldFolder, epochs: int = 0) -> None:
    """Leaves what a training leaves that was stopped after some epochs."""
    shutil.rmtree(fold.path, ignore_errors=True)
    fold.path.mkdir(parents=True)
    with zipfile.ZipFile(fold.last, "w") as checkpoint:
        checkpoint.writestr("data", b"0")
    for epoch in range(1, epochs + 1):
        append_line(fold.metrics, {"epoch": epoch, "lr": 0.1, "loss": 1 / epoch, "samples": 10 * epoch, "seconds": 2.0})


def facts(home: Path, name: str = "whole") -> RunFacts:
    (found,) = (each for each in read_facts(home) if each.name == name)
    return found


def test_the_numbers_of_a_finished_run_are_those_of_its_records(home: Path) -> None:
    exact = (0.1 + 0.2, 1 / 3)
    for fold, score in enumerate(exact):
        change_json(
            home / f"runs/whole/fold{fold}/done.json", score=score, parameters=7, device="cpu", precision="fp32"
        )
    found = facts(home)
    record = found.record()
    assert (record["state"], record["reason"]) == ("finished", None)
    assert [fold["score"] for fold in record["folds"]] == list(exact)
    assert record["cv"] == {
        "mean": pytest.approx(np.mean(exact), abs=5e-7),
        "standard_error": pytest.approx(np.std(exact, ddof=1) / np.sqrt(2), abs=5e-7),
        "folds": 2,
    }
    assert [fold["images"] for fold in record["folds"]] == [len(fold.done["held_out"]) for fold in found.folds]
    assert record["images_per_second"] == 5.0 and record["seconds"] == 12.0 and record["parameters"] == 7
    assert record["settings"]["stages.warm.lr"] == 2e-3 and record["settings"]["model.encoder"] == "test_resnet"
    assert (record["competition"], record["device"], record["precision"]) == ("small", "cpu", "fp32")
    assert record["begun"] <= record["ended"] and record["soup"] is None
    json.dumps(record, allow_nan=False)


def test_a_run_of_one_fold_has_the_error_over_its_images(home: Path) -> None:
    shutil.rmtree(home / "runs/whole/fold1")
    found = facts(home)
    assert (found.state, found.reason) == ("partial", "fold 1 not begun")
    assert found.cv == {"mean": 0.5, "standard_error": 0.01, "folds": 1}


def test_unfinished_runs_say_how_far_they_are(home: Path) -> None:
    run = RunFolder(home / "runs/whole")
    begin(run.fold(1), epochs=2)
    stopped = "stopped after epoch 2 of 3; the same command goes on from there"
    assert (facts(home).state, facts(home).reason) == ("partial", f"fold 1 {stopped}")
    fold = facts(home).folds[1]
    assert (fold.state, fold.reason, fold.done) == ("stopped", stopped, None)
    assert [line["epoch"] for line in fold.epochs] == [1, 2]
    assert fold.record()["score"] is None and fold.record()["epochs"] == 2 and fold.record()["images_per_second"] == 10
    with Lock(run.fold(1).lock):
        since = read_json(run.fold(1).lock)["since"]
        found = facts(home)
        assert (found.state, found.reason) == ("training", f"fold 1 training since {since}, after epoch 2 of 3")
        assert found.cv == {"mean": 0.5, "standard_error": 0.01, "folds": 1}
    shutil.rmtree(run.fold(0).path)
    assert (facts(home).state, facts(home).reason) == ("stopped", f"fold 1 {stopped}; fold 0 not begun")
    shutil.rmtree(run.fold(1).path)
    assert (facts(home).state, facts(home).reason) == ("empty", "no fold has begun")
    with Lock(run.fold(0).lock):  # before its first checkpoint
        assert facts(home).state == "training"
    assert facts(home).state == "empty"  # a try that was refused leaves its lock


def test_a_run_whose_folds_do_not_belong_together_has_no_mean(home: Path) -> None:
    change_json(home / "runs/whole/fold1/done.json", data_hash="0" * 64)
    found = facts(home)
    assert found.state == "damaged" and found.cv is None
    assert "other data than fold 0" in str(found.reason)
    assert [fold.state for fold in found.folds] == ["finished", "finished"]


DAMAGES: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "no settings": (lambda run: run.config_path.unlink(), "config.yaml does not exist; restore it"),
    "settings": (lambda run: run.config_path.write_text("competition: ["), "config.yaml: not YAML"),
    "unknown": (lambda run: run.config_path.write_text("colour: red"), "config.yaml: "),
    "record": (lambda run: run.record_path.write_text("{}"), "run.json cannot be used"),
    "newer": (lambda run: write_json(run.record_path, {"format": 99}), "run folder of format 99"),
    "done": (lambda run: run.fold(1).done.write_text("{"), "fold1/done.json cannot be read as JSON"),
    "copied": (
        lambda run: shutil.copytree(run.fold(1).path, run.fold(2).path),
        "fold2 holds fold 1, copied or renamed",
    ),
    "log": (lambda run: run.fold(1).metrics.write_text('{"epoch": 1}\n3\n'), "fold1/metrics.jsonl line 2 is no epoch"),
    "bytes": (lambda run: run.fold(1).metrics.write_bytes(b"\xff\n"), "fold1/metrics.jsonl line 1 is not text"),
    "torn": (lambda run: _torn(run.fold(1)), "fold1/last.pt is no whole checkpoint"),
    "lost": (lambda run: (begin(run.fold(1), 1), run.fold(1).last.unlink()), "fold1 has neither done.json nor last.pt"),
    "pipe": (lambda run: _pipe(run.fold(1).done), "fold1/done.json is no file"),
    "pipes": (lambda run: (_pipe(run.config_path), _pipe(run.fold(0).metrics)), "config.yaml is no file"),
    "environment": (lambda run: run.environment_path.write_text("[]"), "environment.json holds no mapping"),
    "circle": (lambda run: _circle(run.path), "config.yaml"),
    "nowhere": (lambda run: _nowhere(run.path), "config.yaml does not exist"),
}


def _torn(fold: FoldFolder) -> None:
    begin(fold)
    fold.last.write_bytes(fold.last.read_bytes()[:-5])


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _circle(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path)


def _nowhere(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path.with_name(".gone"))


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_the_reason_and_hides_no_other_run(home: Path, name: str) -> None:
    damage, reason = DAMAGES[name]
    shutil.copytree(home / "runs/whole", home / "runs/another")
    damage(RunFolder(home / "runs/whole"))
    found = facts(home)
    assert found.state == "damaged" and reason in str(found.reason), found.reason
    assert "\n" not in str(found.reason) and str(home) not in str(found.reason)
    assert facts(home, "another").state == "finished"
    json.dumps(found.record(), allow_nan=False)


@counts
def test_no_damage_makes_it_raise(home: Path, count: int) -> None:
    run = RunFolder(home / "runs/whole")
    begin(run.fold(2), epochs=3)
    write_json(run.fold(2).failed, {"time": "2026-01-01T00:00:00Z", "reason": "out of memory"})
    write_json(run.soup_path, {"of": ["runs/a", "runs/b@swa"]})
    good = {
        path: path.read_bytes() for path in run.path.rglob("*") if path.suffix in (".json", ".yaml", ".jsonl", ".pt")
    }

    def case(rng: np.random.Generator) -> None:
        chosen = [some(rng, list(good)) for _ in range(3)]
        for path in chosen:
            path.write_bytes(mutated(good[path], rng))
        try:
            record = read_run_facts(run, home).record()
            assert record["state"] == "finished" or "\n" not in record["reason"]
            json.dumps(record, allow_nan=False)
        finally:
            for path in chosen:
                path.write_bytes(good[path])

    fuzz(count, "facts", case, refuses=False)


def test_what_is_no_run_is_left_out(home: Path) -> None:
    for name in (".demo/fold0", "board-files/fold0", "notes", "__pycache__"):
        (home / "runs" / name).mkdir(parents=True)
    (home / "runs/.demo/config.yaml").write_text("")
    (home / "runs/board.html").write_text("")
    (home / "runs/notes/todo.txt").write_text("")
    (home / "runs/<script>/fold0").mkdir(parents=True)
    assert [each.name for each in read_facts(home)] == ["<script>", "whole"]
    assert read_facts(home / "nowhere") == []


def failing(error: BaseException, begun: bool = True) -> Callable[..., None]:
    """A training that ends in an error, after its first checkpoint or before."""

    def train(job: object, *_: object) -> None:
        if begun:
            job.folder.last.write_bytes(b"")  # type: ignore[attr-defined]
        raise error

    return train


def run_of(home: Path, name: str = "new") -> road.Run:
    job = fold_job(home, run=name)
    run = road.Run(job.experiment, job.competition, RunFolder(home / "runs" / name), home)
    return road.open_run(run.experiment, name, home)


@pytest.mark.parametrize(
    "error, reason",
    [
        (SegfoldError("out of memory on cuda: lower batch_size"), "out of memory on cuda: lower batch_size"),
        (ValueError("two\nlines"), "ValueError: two\\nlines"),
        (MemoryError(), "MemoryError: "),
    ],
)
def test_a_training_that_ends_in_an_error_leaves_the_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    run = run_of(home)
    fold = run.folder.fold(0)
    monkeypatch.setattr(road, "train", failing(error))
    with pytest.raises(type(error)) as caught:
        road.train_fold(run, 0)
    assert caught.value is error and read_json(fold.failed)["reason"] == reason
    found = facts(home, "new")
    assert (found.state, found.folds[0].reason) == ("failed", f"failed in its first epoch: {reason}")
    monkeypatch.setattr(road, "train", failing(Interrupted(130)))
    with pytest.raises(Interrupted):
        road.train_fold(run, 0)
    assert not fold.failed.exists()  # it was trained again, and stopped


def test_what_is_refused_or_stopped_is_no_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(home)
    fold = run.folder.fold(0)
    for train in (
        failing(SegfoldError("too small"), begun=False),
        failing(Interrupted(130)),
        failing(KeyboardInterrupt()),
    ):
        monkeypatch.setattr(road, "train", train)
        with pytest.raises((SegfoldError, Interrupted, KeyboardInterrupt)):
            road.train_fold(run, 0)
        assert not fold.failed.exists()
    monkeypatch.setattr(road, "train", failing(SegfoldError("of the second process")))
    with pytest.raises(SegfoldError):
        road.train_fold(run, 0, group=Group(rank=1))
    with Lock(fold.lock), pytest.raises(SegfoldError, match="another process"):
        road.train_fold(run, 0)
    assert not fold.failed.exists()


def test_a_full_disk_does_not_hide_why_a_training_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, error = run_of(home), SegfoldError("the loss became NaN")

    def full(*_: object) -> None:
        raise SegfoldError("the disk is full")

    monkeypatch.setattr(road, "train", failing(error))
    monkeypatch.setattr(segfold.runs.record, "write_json", full)
    with pytest.raises(SegfoldError) as caught:
        road.train_fold(run, 0)
    assert caught.value is error and caught.value.__context__ is None


def test_a_fold_that_failed_is_finished_by_the_same_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(home)
    fold = run.folder.fold(0)

    class Full(Stopping):
        @property
        def asked(self) -> bool:
            if fold.metrics.exists():
                raise RuntimeError("a library gave up")
            return False

    with pytest.raises(RuntimeError):
        road.train_fold(run, 0, stopping=Full())
    found = facts(home, "new")
    assert found.state == "failed"
    assert found.reason == "fold 0 failed after epoch 1 of 3: RuntimeError: a library gave up; fold 1 not begun"
    done = road.train_fold(run, 0)
    assert done is not None and not fold.failed.exists()
    assert (facts(home, "new").state, facts(home, "new").reason) == ("partial", "fold 1 not begun")
    assert facts(home, "new").folds[0].record()["score"] == done["score"]
