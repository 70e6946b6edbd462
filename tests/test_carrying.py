"""``runs.zip``: what was trained elsewhere comes into ``runs/`` whole, or nothing of it does."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bundled import make_recipe
from segfold.bundling.carrying import MANIFEST, pack_run, take_in
from segfold.bundling.packing import write_zip
from segfold.cli import main
from segfold.errors import SegfoldError
from segfold.runs.folder import RunFolder
from segfold.stopping import Stopping
from small_project import fold_job, train

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    make_recipe(home)
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A working folder with the competition's file, and no run."""
    shutil.copytree(trained / "configs", tmp_path / "home/configs")
    (tmp_path / "home/runs").mkdir()
    return tmp_path / "home"


@pytest.fixture
def packed(trained: Path, tmp_path: Path) -> Path:
    return pack_run(RunFolder(trained / "runs/small"), "small", tmp_path / "runs.zip").path


def changed(archive: Path, change: Change) -> Path:
    """The zip with other content, and the checksums of it."""
    with zipfile.ZipFile(archive) as source:
        details = json.loads(source.read(MANIFEST))
        files = {name: source.read(name) for name in details.pop("files")}
    change(files)
    return write_zip(dict(files), details, archive, MANIFEST).path


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_runs_come_home_as_they_were(trained: Path, home: Path, packed: Path) -> None:
    taken = take_in(packed, home)
    assert taken.new == {"small": [0, 1]} and not taken.gone_on and not taken.kept
    there, here = content(trained / "runs/small"), content(home / "runs/small")
    assert here.items() <= there.items()
    left = {Path(name).name for name in there.keys() - here.keys()}
    assert left == {"last.pt", "lock", "oof.lock", "test.lock", "test.csv", "test.u16"} | {
        name for name in left if name.endswith(".seconds.json")
    }
    assert take_in(packed, home).kept == {"small": [0, 1]} and content(home / "runs/small") == here
    assert [path.name for path in (home / "runs").iterdir()] == ["small"]


def test_a_fold_that_came_alone_is_joined_by_the_others(
    trained: Path, home: Path, packed: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part/small"
    shutil.copytree(trained / "runs/small", part)
    shutil.rmtree(part / "fold1")
    take_in(pack_run(RunFolder(part), "small", tmp_path / "first.zip").path, home)
    taken = take_in(packed, home)
    assert taken.new == {"small": [1]} and taken.kept == {"small": [0]}
    assert (home / "runs/small/fold1/done.json").is_file()


def test_a_fold_that_has_gone_on_replaces_its_earlier_state_only(trained: Path, home: Path, tmp_path: Path) -> None:
    early = tmp_path / "early"
    shutil.copytree(trained / "configs", early / "configs")
    shutil.copytree(trained / "data", early / "data")
    job = fold_job(early, "stages.warm.epochs=1", fold=0, run="small")
    assert train(job, Stopping(1e-9)) is None and job.folder.last.is_file()
    for name in ("config.yaml", "environment.json"):
        shutil.copy(trained / "runs/small" / name, early / "runs/small" / name)
    first = pack_run(RunFolder(early / "runs/small"), "small", tmp_path / "first.zip").path
    assert take_in(first, home).new == {"small": [0]}
    second = pack_run(RunFolder(trained / "runs/small"), "small", tmp_path / "second.zip").path
    assert take_in(second, home).gone_on == {"small": [0]}
    assert (home / "runs/small/fold0/done.json").is_file()
    assert take_in(first, home).kept == {"small": [0]} and (home / "runs/small/fold0/done.json").is_file()


def climbs(files: dict[str, bytes]) -> None:
    files["runs/../../evil.json"] = b"{}"


def code(files: dict[str, bytes]) -> None:
    files["runs/small/fold0/helper.py"] = b"print('here')"


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise RuntimeError('code of the pickle ran')",)


def a_pickle(files: dict[str, bytes]) -> None:
    del files["runs/small/fold1/done.json"]
    file = io.BytesIO()
    torch.save({"network": _Runs()}, file)
    files["runs/small/fold1/last.pt"] = file.getvalue()


def other_weights(files: dict[str, bytes]) -> None:
    files["runs/small/fold1/model.safetensors"] = files["runs/small/fold0/model.safetensors"]


def other_settings(files: dict[str, bytes]) -> None:
    files["runs/small/config.yaml"] = files["runs/small/config.yaml"].replace(b"size: 32", b"size: 64")


def another_fold(files: dict[str, bytes]) -> None:
    files["runs/small/fold1/done.json"] = files["runs/small/fold0/done.json"]


def another_competition(files: dict[str, bytes]) -> None:
    files["runs/small/run.json"] = files["runs/small/run.json"].replace(b'"metric": "precision"', b'"metric": "iou"')


def nothing(files: dict[str, bytes]) -> None:
    files.clear()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (climbs, "a path that leaves the folder"),
        (code, "holds 'runs/small/fold0/helper.py', which is no part of a run"),
        (a_pickle, "not a checkpoint that can be resumed"),
        (other_weights, "model.safetensors is not the file that fold1/done.json scored"),
        (other_settings, "fold0 was trained with other input.size"),
        (another_fold, "fold1 holds fold 0"),
        (another_competition, "was trained for another small"),
        (nothing, "holds no run"),
    ],
)
def test_what_is_wrong_is_refused_whole(home: Path, packed: Path, change: Change, reason: str) -> None:
    with pytest.raises(SegfoldError) as caught:
        take_in(changed(packed, change), home)
    assert reason in str(caught.value) and "code of the pickle ran" not in str(caught.value)
    assert not list((home / "runs").iterdir()) and not list(home.parent.rglob("evil.json"))


def test_a_file_that_was_changed_on_the_way_is_named(home: Path, packed: Path) -> None:
    with zipfile.ZipFile(packed) as source:
        files = {name: source.read(name) for name in source.namelist()}
    files["runs/small/fold0/scores.csv"] += b"x"
    with zipfile.ZipFile(packed, "w") as target:
        for name, data in files.items():
            target.writestr(name, data)
    with pytest.raises(SegfoldError, match=r"'runs/small/fold0/scores\.csv' is damaged"):
        take_in(packed, home)
    assert not list((home / "runs").iterdir())


def test_a_run_of_other_settings_stays_as_it_is(home: Path, packed: Path) -> None:
    take_in(packed, home)
    path = home / "runs/small/config.yaml"
    path.write_text(path.read_text().replace("\nseed: 0", "\nseed: 7"))
    before = content(home / "runs")
    with pytest.raises(SegfoldError, match=r"is there with other settings than in .* \(seed\): rename one of them"):
        take_in(packed, home)
    assert content(home / "runs") == before


def test_when_a_rename_fails_what_was_moved_goes_back(
    home: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(packed, home)
    shutil.rmtree(home / "runs/small/fold0")
    shutil.rmtree(home / "runs/small/fold1")
    before, rename = content(home / "runs"), Path.rename

    def fails(source: Path, target: Path) -> Path:
        if target == home / "runs/small/fold1":
            raise OSError(5, "the disk is gone")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="the disk is gone"):
        take_in(packed, home)
    assert content(home / "runs") == before


def test_the_verb_takes_in_and_lists(
    home: Path, packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    assert main(["runs"]) == 2 and "no runs" in capsys.readouterr().err
    assert main(["runs", "--import", str(packed)]) == 0
    assert capsys.readouterr().out == "runs/small: fold 0, 1 taken in\n"
    assert main(["runs"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "│ small" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][:4] == ["small", "small", "0,1", ""]
