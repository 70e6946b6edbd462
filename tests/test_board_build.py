"""The whole board: what is built, what is built again, and what a damaged folder does to it."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.board_runs import Made, made_competition, make_run

from segfold import road
from segfold.board.build import build_board, build_report
from segfold.board.masks import unpack
from segfold.board.places import BoardPlaces
from segfold.board.script import read_script
from segfold.cli import main
from segfold.errors import SegfoldError
from segfold.observer import Observer
from segfold.runs.folder import RunFolder
from segfold.store import open_store
from small_project import fold_job, make_project

HOSTILE = "<script>alert(1)<"


class Notes(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three runs of two folds, one of them of a hostile name."""
    made = made_competition(tmp_path_factory.mktemp("week") / "home", "salt", 14, 4, 2)
    for number, name in enumerate(("alone", "both", HOSTILE)):
        make_run(made, number, name)
    build_board(made.home)
    return made


@pytest.fixture
def home(made: Made, tmp_path: Path) -> Iterator[Path]:
    """A copy of it that a test may spoil."""
    shutil.copytree(made.home, tmp_path / "home")
    yield tmp_path / "home"


def board(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_script(BoardPlaces(home).script("board"))[1]
    return found


def files(home: Path) -> dict[str, bytes]:
    """What the board holds but for the keys."""
    root = home / "runs"
    paths = [*root.rglob("board-files/**/*"), *root.glob("*/report.html"), root / "board.html"]
    return {
        str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file() and path.suffix != ".json"
    }


def test_every_file_that_the_page_names_is_there(made: Made) -> None:
    places, found = BoardPlaces(made.home), board(made.home)
    page = places.page.read_text()
    for name in re.findall(r'(?:src|href)="(board-files/[^"]+)"', page):
        assert (places.home / "runs" / name).is_file(), name
    scripts = [fold["images_script"] for run in found["runs"] for fold in run["folds"]]
    scripts += [run[key] for run in found["runs"] for key in ("epochs_script", "curves_script")]
    scripts += [each[key] for each in found["competitions"] for key in ("train_script", "data_script")]
    assert len(scripts) == 3 * 2 + 3 * 2 + 2
    for name in scripts:
        assert read_script(places.script(name))[0] == name


def test_a_report_is_the_page_of_its_run(made: Made) -> None:
    for name in ("alone", HOSTILE):
        text = BoardPlaces(made.home).report(name).read_text()
        assert "<script>alert" not in text
        inside = re.search(r'segfold\.put\("board", (.*)\);</script>', text)
        assert inside is not None
        value = json.loads(inside[1])
        assert [run["name"] for run in value["runs"]] == [name] == [value["report"]]
        assert (
            value["runs"][0]["folds"] == next(run for run in board(made.home)["runs"] if run["name"] == name)["folds"]
        )
        for file in re.findall(r'src="\.\./(board-files/[^"]+)"', text):
            assert (made.home / "runs" / file).is_file()


def test_a_second_build_makes_nothing(home: Path) -> None:
    before = files(home)
    assert build_board(home).made == 0
    assert files(home) == before


def test_one_fold_changed_is_one_fold_built(home: Path) -> None:
    scores = home / "runs/both/fold1/scores.csv"
    lines = scores.read_text().splitlines()
    lines[1] = re.sub(r"^([^,]+),1,[^,]+,", r"\1,1,0.123456,", lines[1])
    scores.write_text("\n".join(lines) + "\n")
    before = files(home)
    build_board(home)
    after = files(home)
    assert {name for name in after if after[name] != before[name]} <= {
        "board-files/images/both-fold1.js",
        "board-files/curves/both.js",
        "board-files/board.js",
    }
    record = read_script(BoardPlaces(home).script("images/both-fold1"))[1]
    assert record["scores"]["precision"][0] == 0.123456


def test_open_pages_are_told_of_any_script(home: Path) -> None:
    before = board(home)
    path = next((home / "runs/both/fold0/pred").glob("*/meta.json"))
    meta = path.read_text()
    path.write_text(meta.replace('"oof"', '"off"'))  # predictions that are no longer whole: masks go, no number changes
    build_report(RunFolder(home / "runs/both"), home)  # as a training does
    path.write_text(meta)
    build_report(RunFolder(home / "runs/both"), home)
    assert build_board(home).made == 0 and board(home)["made"] == before["made"]
    log = home / "runs/both/fold0/metrics.jsonl"
    log.write_text(log.read_text() + log.read_text().splitlines()[-1] + "\n")
    build_report(RunFolder(home / "runs/both"), home)
    assert board(home)["made"] == before["made"]
    build_board(home)
    assert board(home)["made"] != before["made"]


def test_a_new_epoch_is_shown(home: Path) -> None:
    log = home / "runs/alone/fold0/metrics.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines, lines[-1].replace('"loss": ', '"loss": 9')]) + '\n{"torn')
    build_board(home)
    loss = read_script(BoardPlaces(home).script("epochs/alone"))[1]["folds"]["0"]["loss"]
    assert len(loss) == len(lines) + 1 and loss[-1] > 9


def test_masks_are_those_of_the_store(made: Made) -> None:
    record = read_script(BoardPlaces(made.home).script("images/alone-fold0"))[1]
    fold = RunFolder(made.home / "runs/alone").fold(0)
    (folder,) = (fold.path / "pred").iterdir()
    store = open_store(folder, "oof", None)
    assert store is not None and record["ids"] == list(store.ids)
    for row in range(len(store)):
        assert np.array_equal(unpack(record["masks"], row), store.codes(row)[0] >= 32768)


def test_masks_that_somebody_removed_are_made_again(home: Path) -> None:
    before, script = files(home), BoardPlaces(home).script("images/both-fold1")
    script.unlink()
    build_board(home)
    assert files(home) == before


def test_what_is_gone_is_removed(home: Path) -> None:
    shutil.rmtree(home / "runs/both")
    build_board(home)
    assert not [name for name in files(home) if "both" in name]
    assert [run["name"] for run in board(home)["runs"]] == [HOSTILE, "alone"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: (run / "config.yaml").write_text("model: ["),
        lambda run: (run / "run.json").write_text("{"),
        lambda run: (run / "environment.json").write_bytes(b"\xff\xfe"),
        lambda run: (run / "fold0/done.json").write_text("[]"),
        lambda run: (run / "fold0/scores.csv").write_text("id\n"),
        lambda run: (run / "fold0/scores.csv").unlink(),
        lambda run: (run / "fold0/metrics.jsonl").write_text("1\n{}\nx\n"),
        lambda run: shutil.rmtree(run / "fold0/pred"),
        lambda run: next(run.glob("fold0/pred/*/oof.u16")).write_bytes(b""),
        lambda run: next(run.glob("fold0/pred/*/oof.csv")).write_text("id\n"),
        lambda run: shutil.rmtree(run / "fold0"),
        lambda run: (run / "fold0/done.json").unlink(),
    ],
)
def test_a_damaged_run_breaks_nothing(home: Path, spoil: Any) -> None:
    whole = board(home)
    spoil(home / "runs/both")
    build_board(home)
    found = {run["name"]: run for run in board(home)["runs"]}
    assert found["alone"] == next(run for run in whole["runs"] if run["name"] == "alone")
    assert "both" in found
    first = next((fold for fold in found["both"]["folds"] if fold["number"] == 0), None)
    if found["both"]["state"] == "finished" and first is not None and first["images_script"] is None:
        assert first["reason"]
    assert build_board(home).made == 0


def test_a_linked_run_has_a_report_and_a_dead_link_none(home: Path, tmp_path: Path) -> None:
    shutil.move(home / "runs/both", tmp_path / "elsewhere")
    (home / "runs/both").symlink_to(tmp_path / "elsewhere")
    (home / "runs/dead").symlink_to(tmp_path / "nowhere")
    notes = Notes()
    build_board(home, notes)
    found = {run["name"]: run for run in board(home)["runs"]}
    assert found["both"]["state"] == "finished" and found["both"]["report"]
    assert found["dead"]["state"] == "damaged" and found["dead"]["reason"] and not found["dead"]["report"]
    assert notes.lines == []


def test_the_first_build_says_all_that_a_later_one_does(home: Path) -> None:
    shutil.rmtree(home / "runs/board-files")
    shutil.rmtree(home / "data/salt/cache")
    run = RunFolder(home / "runs/both")
    assert build_board(home).made and build_board(home).made == 0
    assert run.path.is_dir()


@pytest.mark.parametrize(
    "place", ["runs/both/fold0", "runs/both", "data", "data/salt", "folds", "audit", "submissions"]
)
def test_a_folder_that_cannot_be_looked_into_ends_no_board(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    closed, real = home / place, Path.stat
    (home / "audit/salt").mkdir(parents=True)
    (home / "audit/salt/audit.json").write_text("{}")

    def stat(path: Path, **options: Any) -> Any:
        if closed in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)  # as for one who is not root
    build_board(home)
    found = {run["name"]: run for run in board(home)["runs"]}
    assert found["alone"]["state"] == "finished"
    assert found["both"]["state"] == ("damaged" if "both" in place else "finished")
    assert found["both"]["cv"] is None or "both" not in place


def test_without_data_the_masks_are_shown_alone(home: Path) -> None:
    shutil.rmtree(home / "data")
    build_board(home)
    found, places = board(home), BoardPlaces(home)
    assert found["competitions"][0]["train_script"] is None
    assert all(fold["images_script"] for run in found["runs"] for fold in run["folds"])
    assert read_script(places.script("images/both-fold0"))[1]["masks"]["counts"]
    assert not list(places.files.glob("sets/*/pictures*"))


def test_no_runs_at_all(tmp_path: Path) -> None:
    built = build_board(tmp_path)
    assert built.page.exists() and board(tmp_path)["runs"] == []


def test_a_build_that_was_broken_off_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(home)
    shutil.rmtree(home / "runs/board-files")
    from segfold.board import run_parts

    real, calls = run_parts.fold_images, []

    def stopped(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(run_parts, "fold_images", stopped)
    monkeypatch.setattr(run_parts, "cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        build_board(home)
    build_board(home)
    assert len(calls) == 4 + 3  # three were kept
    again = files(home)
    changes = {name for name in again if again[name] != before[name]}
    assert changes <= {"board-files/board.js", "board.html"}


def test_two_at_once_wait_for_each_other(home: Path) -> None:
    before = files(home)
    shutil.rmtree(home / "runs/board-files")
    failed: list[BaseException] = []

    def work(build: Any, argument: Any) -> None:
        try:
            build(argument)
        except BaseException as error:
            failed.append(error)

    one = threading.Thread(target=work, args=(build_board, home))
    other = threading.Thread(target=work, args=(lambda run: build_report(run, home), RunFolder(home / "runs/alone")))
    one.start(), other.start()
    one.join(), other.join()
    assert not failed
    build_board(home)
    again = files(home)
    assert {name for name in again if again[name] != before.get(name)} <= {"board-files/board.js"}


def test_a_full_disk_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from segfold.board import script

    shutil.rmtree(home / "runs/board-files")

    def full(path: Path, *_: Any) -> Any:
        raise SegfoldError(f"{path}: no space left on the disk; make room and run it again")

    monkeypatch.setattr(script, "write_atomic", full)
    monkeypatch.chdir(home)
    assert main(["board"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no space left" in error


def test_the_verb_says_where_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    assert main(["board"]) == 0
    assert capsys.readouterr().out.startswith("runs/board.html: 3 runs, ")


def test_training_writes_the_report(tmp_path: Path) -> None:
    home = make_project(tmp_path)
    for fold in range(2):
        job = fold_job(home, "machine.report=true", "stages.warm.epochs=1", fold=fold)
        run = road.open_run(job.experiment, "here", home)
        done = road.train_fold(run, fold)
        assert done is not None
        text = (home / "runs/here/report.html").read_text()
        assert f'"score":{done["score"]}' in text and text.count('"state":"finished"') >= fold + 1
    assert not (home / "runs/board.html").exists()
    assert not (home / "runs/here/fold0/failed.json").exists()


def test_a_report_that_fails_fails_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_project(tmp_path)
    job = fold_job(home, "machine.report=true", "stages.warm.epochs=1")
    (home / "runs").mkdir(exist_ok=True)
    (home / "runs/board-files").write_text("in the way")
    run, notes = road.open_run(job.experiment, "here", home), Notes()
    assert road.train_fold(run, 0, notes) is not None
    assert [line for line in notes.lines if line.startswith("no report of ")]
    assert not (home / "runs/here/fold0/failed.json").exists()


def test_no_report_where_none_is_wanted(tmp_path: Path) -> None:
    home = make_project(tmp_path)
    job = fold_job(home, "stages.warm.epochs=1")
    run = road.open_run(job.experiment, "here", home)
    assert road.train_fold(run, 0) is not None
    assert not (home / "runs/here/report.html").exists() and not (home / "runs/board-files").exists()
