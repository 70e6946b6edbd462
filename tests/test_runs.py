"""Run folders: their paths, and which of them are finished."""

from pathlib import Path

import pytest

from segfold.errors import SegfoldError
from segfold.files import write_json
from segfold.runs.folder import RunFolder, find_runs, run_folder


def make_run(path: Path, finished=(0,), started=()) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True)
    run.config_path.write_text("competition: x\n")
    for number in (*finished, *started):
        run.fold(number).path.mkdir()
    for number in finished:
        write_json(run.fold(number).done, {"score": 0.5})
    return run


def test_paths_of_a_run_folder_are_those_of_the_design():
    fold = RunFolder(Path("runs/unet")).fold(3)
    assert RunFolder(Path("runs/unet")).name == "unet"
    assert RunFolder(Path("runs/unet")).config_path == Path("runs/unet/config.yaml")
    assert RunFolder(Path("runs/unet")).environment_path == Path("runs/unet/environment.json")
    assert fold.number == 3
    assert fold.last == Path("runs/unet/fold3/last.pt")
    assert fold.weights() == Path("runs/unet/fold3/model.safetensors")
    assert fold.weights("snapshot2") == Path("runs/unet/fold3/snapshot2.safetensors")
    assert fold.metrics == Path("runs/unet/fold3/metrics.jsonl")
    assert fold.done == Path("runs/unet/fold3/done.json")
    assert fold.predictions("model", "hflip+vflip") == Path("runs/unet/fold3/pred/model-hflip+vflip")


@pytest.mark.parametrize("name", ["", "../model", "a/b", ".hidden", "a b"])
def test_names_cannot_leave_the_fold_folder(name):
    with pytest.raises(SegfoldError, match="rename"):
        RunFolder(Path("r")).fold(0).weights(name)
    with pytest.raises(SegfoldError, match="rename"):
        RunFolder(Path("r")).fold(0).predictions("model", name)


def test_folds_are_ordered_as_numbers_and_unfinished_ones_are_apart(tmp_path):
    run = make_run(tmp_path / "r", finished=(10, 2), started=(1,))
    (run.path / "fold7").write_text("a file")
    for name in ("fold3-old", "fold01", "fold٣", "fold" + "9" * 21):
        (run.path / name).mkdir()
    assert [fold.number for fold in run.folds()] == [1, 2, 10]
    assert [fold.number for fold in run.finished_folds()] == [2, 10]
    assert RunFolder(tmp_path / "absent").folds() == []


def test_find_runs_takes_finished_runs_and_says_why_it_skips_the_rest(tmp_path):
    good = make_run(tmp_path / "good", finished=(0,), started=(1,))
    also = make_run(tmp_path / "also", finished=(4,))
    make_run(tmp_path / "started", finished=(), started=(0, 2))
    make_run(tmp_path / "new", finished=())
    (tmp_path / "foreign").mkdir()
    (tmp_path / "look-a.png").write_text("")
    paths = [tmp_path / name for name in ("good", "started", "new", "foreign", "look-a.png", "gone")]
    paths += [good.path / "fold0", tmp_path / "also", tmp_path / "also" / ".." / "good"]
    runs, skipped = find_runs(map(str, paths))
    assert [run.path for run in runs] == [good.path, also.path]
    reasons = {path.name: reason for path, reason in skipped}
    assert reasons == {
        "started": "no finished fold (started: fold0, fold2)",
        "new": "no finished fold",
        "foreign": "not a run: no config.yaml",
        "look-a.png": "not a folder",
        "gone": "does not exist",
        "fold0": f"one fold of a run; give the run, {good.path}",
    }


def test_the_board_is_no_run_and_nothing_is_said_of_it(tmp_path):
    (tmp_path / "board.html").touch()
    (tmp_path / "board-files").mkdir()
    (tmp_path / "other").mkdir()
    runs, skipped = find_runs(sorted(tmp_path.iterdir()))
    assert runs == [] and [path.name for path, _ in skipped] == ["other"]


@pytest.mark.parametrize("name", ["board.html", "board-files", "Board-Files"])
def test_a_run_cannot_take_the_names_of_the_board(tmp_path, name):
    with pytest.raises(SegfoldError, match="the board is called so"):
        run_folder(tmp_path, name)
