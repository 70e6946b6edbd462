"""Paths and names as users write them: a tilde is a home folder, and what no file can be called is one line."""

import argparse
import importlib
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from segfold.cli import main
from segfold.competition import Competition, load_competition
from segfold.config import load_experiment
from segfold.data.folds import write_folds
from segfold.errors import SegfoldError
from segfold.files import write_atomic
from segfold.models.encoders import Encoder
from segfold.road import experiment_folds, open_run
from segfold.training.checkpoint import start_from
from small_images import image_set
from small_project import COMPETITION, EXPERIMENT
from tiny_competition import TINY

LONG = "x" * 300


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home folder; the working folder is another one."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


ARGUMENTS = {
    "data": ["--from", "~/x"],
    "look": ["--config", "~/x", "--out", "~/x"],
    "train": ["--config", "~/x", "--fold", "0"],
    "cv": ["--config", "~/x"],
    "submit": ["--ensemble", "~/x", "~/x"],
    "check-csv": ["~/x"],
    "score": ["~/x", "--truth", "~/x"],
}


@pytest.mark.parametrize("verb", ARGUMENTS)
def test_a_tilde_in_every_path_of_every_verb(home: Path, verb: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"segfold.cli.{verb.replace('-', '_')}").add_arguments(parser)
    given = vars(parser.parse_args(ARGUMENTS[verb])).values()
    paths = [value for part in given for value in (part if isinstance(part, list) else [part])]
    expanded = [path for path in paths if isinstance(path, Path)]
    assert expanded == [home / "x"] * ARGUMENTS[verb].count("~/x")


def test_a_tilde_in_every_path_of_a_config(home: Path) -> None:
    (home / "c.yaml").write_text(COMPETITION)
    assert load_competition("~/c.yaml").name == "small"
    (home / "base.yaml").write_text(EXPERIMENT)
    Path("e.yaml").write_text("extends: ~/base.yaml\nseed: 7\nfolds: {file: ~/f.csv, k: 2}\n")
    experiment = load_experiment(Path("e.yaml"))
    assert experiment.seed == 7 and experiment.batch_size == 4
    images = image_set(count=4)
    write_folds(home / "f.csv", images.ids, [1, 0, 1, 0])
    assert experiment_folds(experiment, TINY, images, Path()).tolist() == [1, 0, 1, 0]
    with pytest.raises(SegfoldError, match="a path that a file system takes"):
        experiment_folds(load_experiment(Path("e.yaml"), [f"folds.file={LONG}"]), TINY, images, Path())
    job = SimpleNamespace(experiment=SimpleNamespace(init="~/other"), fold=0, home=Path())
    with pytest.raises(SegfoldError, match=f"{home}/other/fold0 is not a finished fold"):
        start_from(SimpleNamespace(), job)  # type: ignore[arg-type]
    with pytest.raises(SegfoldError, match=f"no weights at {home}/w.pth"):
        Encoder("test_resnet", 3, weights="~/w.pth")
    with pytest.raises(SegfoldError, match="no such home folder"):
        Encoder("test_resnet", 3, weights="~nobody-here/w.pth")


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "--from", LONG],
        ["data", "--from", "~nobody-here/x"],
        ["data", "--competition", f"{LONG}.yaml"],
        ["train", "--fold", "0", "--config", LONG],
        ["train", "--fold", "0", "--config", "e.yaml", "--run", LONG],
        ["train", "--fold", "0", "--config", "e.yaml", f"competition={LONG}.yaml"],
        ["look", "--config", "e.yaml", "--out", LONG],
        ["cv", "--summary", "--config", "e.yaml", "--run", LONG],
        ["submit", "--ensemble", "runs/a", "--name", LONG],
        ["submit", "--ensemble", LONG],
        ["check-csv", LONG],
        ["score", "a.csv", "--truth", LONG],
    ],
    ids=lambda arguments: " ".join(part[:16] for part in arguments),
)
def test_a_name_that_no_file_can_have_is_one_line(
    home: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("e.yaml").write_text(EXPERIMENT.replace("configs/competitions/small.yaml", "c.yaml"))
    Path("c.yaml").write_text(COMPETITION)
    Path("runs").mkdir()
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert any(said in line for said in ("too long", "no such home folder", "a path that a file system takes"))
    assert len(line) < 300


@pytest.mark.parametrize("runs", [False, True], ids=["no runs yet", "beside other runs"])
def test_a_run_cannot_have_that_name_either(home: Path, runs: bool) -> None:
    Path("c.yaml").write_text(COMPETITION)
    Path("e.yaml").write_text(EXPERIMENT.replace("configs/competitions/small.yaml", "c.yaml"))
    if runs:  # where the name would be looked up
        Path("runs").mkdir()
    with pytest.raises(SegfoldError, match="too long"):
        open_run(load_experiment(Path("e.yaml")), LONG, Path())


@pytest.mark.parametrize("key", ["name", "train_images", "train_table", "image_suffix", "mask_suffix"])
@pytest.mark.parametrize("value", [LONG, "a\0b"])
def test_names_in_a_competition_file(home: Path, key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key):
        Competition(**{**TINY.model_dump(), key: value})


@pytest.mark.parametrize("path", [LONG, f"{'x' * 250}.csv", "file/x.csv", "folder", f"new/{LONG}/x"])
def test_what_cannot_be_written_is_one_line(home: Path, path: str) -> None:
    Path("file").write_text("kept")
    Path("folder").mkdir()
    with (
        pytest.raises(SegfoldError, match=r"cannot be written \(.*\); choose another name"),
        write_atomic(path) as file,
    ):
        file.write(b"x")
    assert Path("file").read_text() == "kept" and not list(Path("folder").iterdir())
    assert not list(Path().glob(".*"))


def test_a_message_is_one_line_whatever_a_name_holds() -> None:
    message = str(SegfoldError("id 'a\nb\u2028c\x1b\udcff' is «ß» × 3"))
    assert message == r"id 'a\nb\u2028c\x1b\udcff' is «ß» × 3"
    assert str(SegfoldError(message)) == message


def test_a_terminal_that_lacks_a_character(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["--help"]) == 0
    print("mean 0.5 ± 0.1")
    stream.flush()
    assert stream.buffer.getvalue().endswith(rb"mean 0.5 \xb1 0.1" + b"\n")  # type: ignore[attr-defined]
