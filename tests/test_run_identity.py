"""What makes a run the run that it is: stages in their order, data, tables, folds, settings. A change is refused by name."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from made_run import change_json, made_run
from segfold.cli import main
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.files import read_json
from segfold.inference import stored
from segfold.inference.stored import StoredImages, store_predictions
from segfold.machine import Runtime
from segfold.models import Output
from segfold.observer import Observer
from segfold.training.checkpoint import start_from
from small_project import fold_job, make_project

TRAIN = ("train", "--config", "configs/small.yaml")
DEPTH = ("input.channels=[image, depth]",)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a table of depths and two runs of both folds: ``plain``, and ``deep``, which sees the depths."""
    home = make_project(tmp_path_factory.mktemp("identity"))
    competition = home / "configs/competitions/small.yaml"
    competition.write_text(competition.read_text() + "tables: {depth: {file: depths.csv, column: z}}\n")
    write_depths(home)
    made_run(home, "plain")
    made_run(home, "deep", *DEPTH)
    return home


def write_depths(home: Path, **changed: int) -> None:
    """Depths 0, 1, 2 … of all images by id, some ``changed``."""
    folders = [home / "data/small" / split / "images" for split in ("train", "test")]
    ids = sorted(path.stem for folder in folders for path in folder.glob("*.png"))
    depths = {name: number for number, name in enumerate(ids)} | changed
    lines = [f"{name},{depth}" for name, depth in depths.items()]
    (home / "data/small/depths.csv").write_text("\n".join(["id,z", *lines]) + "\n")


@pytest.fixture
def home(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change."""
    shutil.copytree(project, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def refused(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a verb that must be refused without training anything; returns its one line."""
    monkeypatch.setattr("segfold.road.train", lambda *_: pytest.fail("trained"))

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1, err
        return err

    return run


@pytest.fixture
def is_done(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., bool]:
    """Whether training a fold says that there is nothing to do."""

    def run(*arguments: str) -> bool:
        capsys.readouterr()
        assert main([*TRAIN, *arguments]) == 0
        return "is done" in capsys.readouterr().out

    return run


def swap_two_images(home: Path) -> None:
    """The fold file with two images of different folds changed over: as many folds, of the same sizes."""
    path = home / "folds/small-2.csv"
    lines = path.read_text().splitlines()
    one, two = (next(line for line in lines if line.endswith(f",{fold}")) for fold in (0, 1))
    swapped = {one: one[:-1] + "1", two: two[:-1] + "0"}
    path.write_text("\n".join(swapped.get(line, line) for line in lines) + "\n")


def test_stages_in_another_order_are_another_run(home: Path, refused: Callable[..., str]) -> None:
    config = home / "configs/small.yaml"
    lines = config.read_text().splitlines()
    at = next(row for row, line in enumerate(lines) if line.startswith("  warm:"))
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    config.write_text("\n".join(lines) + "\n")
    line = refused(*TRAIN, "--fold", "0", "--run", "plain")
    assert "other settings (stages (their order))" in line and "--run NAME" in line


def test_done_is_done_with_these_folds(home: Path, refused: Callable[..., str], is_done: Callable[..., bool]) -> None:
    assert is_done("--fold", "0", "--run", "plain")
    swap_two_images(home)
    line = refused(*TRAIN, "--fold", "0", "--run", "plain")
    assert "runs/plain/fold0 was trained on other folds" in line and "restore" in line and "--run NAME" in line


def test_a_fold_is_not_trained_beside_one_of_other_folds(home: Path, refused: Callable[..., str]) -> None:
    shutil.rmtree(home / "runs/plain/fold1")
    swap_two_images(home)
    assert "runs/plain/fold0 was trained on other folds" in refused(*TRAIN, "--fold", "1", "--run", "plain")
    # Its record is damaged: the run still has one.
    (home / "runs/plain/fold0/done.json").write_text("{")
    assert "runs/plain was trained on other folds" in refused(*TRAIN, "--fold", "1", "--run", "plain")
    # A fold that has only begun leaves no record of its own, but the run has one.
    (home / "runs/plain/fold0/done.json").unlink()
    (home / "runs/plain/fold0/last.pt").write_bytes(b"")
    assert "runs/plain was trained on other folds" in refused(*TRAIN, "--fold", "1", "--run", "plain")


def test_folds_that_differ_have_no_mean(
    home: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = ("cv", "--config", "configs/small.yaml", "--summary", "--run", "plain")
    assert main(summary) == 0 and "mean over 2 folds: 0.5500" in capsys.readouterr().out
    done = home / "runs/plain/fold1/done.json"
    original = read_json(done)
    for key, value, said in [
        ("folds_hash", "0" * 64, "folds"),
        ("data_hash", "0" * 64, "data"),
        ("metric", "iou", "metric"),
        ("settings", {**original["settings"], "seed": 8}, "seed"),
        ("settings", {**original["settings"], "predict": {"tta": ["identity"]}}, "predict.tta"),
        (
            "settings",
            {**original["settings"], "predict": {"boxes": {}, "merge": "max"}},
            "predict.boxes, predict.merge",
        ),
    ]:
        change_json(done, **{**original, key: value})
        line = refused(*summary)
        assert "no mean over folds" in line and f"fold 1 was trained or scored with other {said} than fold 0" in line
    # Proposals matter where both predict by them, and how many images go at once never does.
    settings = original["settings"]
    apart = {**settings, "predict": {**settings["predict"], "batch_size": 1}, "proposals": {"count": 9}}
    change_json(done, **{**original, "settings": apart})
    assert main(summary) == 0
    first = home / "runs/plain/fold0/done.json"
    boxes = {"predict": {**settings["predict"], "boxes": {"count": 5}}}
    change_json(first, settings={**settings, **boxes})
    change_json(done, settings={**settings, **boxes, "proposals": {"count": 9}})
    assert "with other proposals.count than fold 0" in refused(*summary)
    change_json(first, settings=settings)
    # What another version did not record is no difference.
    change_json(done, **{**original, "settings": None, "metric": None})
    assert main(summary) == 0
    done.write_text("{")
    assert "fold1/done.json cannot be read" in refused(*summary)
    assert "runs/typo is not a run" in refused(*summary[:-1], "typo")


def test_a_fold_file_of_another_number_of_folds_is_refused(home: Path, refused: Callable[..., str]) -> None:
    ids = [line.split(",")[0] for line in (home / "folds/small-2.csv").read_text().splitlines()[1:]]
    (home / "folds/mine.csv").write_text(
        "\n".join(["id,fold", *(f"{name},{n % 4}" for n, name in enumerate(ids))]) + "\n"
    )
    for k in ("2", "5"):
        line = refused(*TRAIN, "--fold", "0", "--run", "mine", "folds.file=folds/mine.csv", f"folds.k={k}")
        assert f"folds/mine.csv has 4 folds, folds.k is {k}: set folds.k=4" in line


def test_folds_k_can_be_set_right_on_a_run_of_a_fold_file(home: Path, is_done: Callable[..., bool]) -> None:
    """Older versions let it differ; the file says what the folds are, and its content is in the record."""
    shutil.copy(home / "folds/small-2.csv", home / "folds/mine.csv")
    made_run(home, "mine", "folds.file=folds/mine.csv", folds=(0,))
    path = home / "runs/mine/config.yaml"
    path.write_text(path.read_text().replace("k: 2", "k: 5"))
    assert is_done("--fold", "0", "--run", "mine", "folds.file=folds/mine.csv")


def test_a_changed_table_is_other_data_for_the_runs_that_use_it(
    home: Path, refused: Callable[..., str], is_done: Callable[..., bool]
) -> None:
    write_depths(home, im001t=3)
    assert is_done("--fold", "0", "--run", "plain")
    line = refused(*TRAIN, "--fold", "0", "--run", "deep", *DEPTH)
    assert "runs/deep/fold0 was trained on other tables" in line
    line = refused("submit", "--ensemble", "runs/deep")
    assert "trained on other tables than data/small holds now" in line
    assert main(["submit", "--ensemble", "runs/deep", "runs/plain", "--name", "rest"]) == 0
    assert [member["run"] for member in read_json(home / "submissions/rest.json")["members"]] == ["runs/plain"]


def test_a_run_that_recorded_no_tables_is_taken_as_it_is(home: Path, is_done: Callable[..., bool]) -> None:
    for fold in (0, 1):
        change_json(home / f"runs/deep/fold{fold}/done.json", tables_hash=None, settings=None, metric=None)
    assert is_done("--fold", "0", "--run", "deep", *DEPTH)
    assert main(["submit", "--ensemble", "runs/deep"]) == 0


class Grey(nn.Module):
    """A logit from the first channel's brightness."""

    def forward(self, pixels: torch.Tensor) -> Output:
        return Output(pixels[:, :1].float() / 64 - 2)


class Seen(Observer):
    """Counts the batches of predictions."""

    batches = 0

    def predicting(self, title: str, done: int, total: int) -> None:
        self.batches += 1


@pytest.fixture
def predicted(home: Path) -> Callable[..., bool]:
    """Whether a store of the test images must be predicted, rather than read."""

    def run(*overrides: str) -> bool:
        seen = Seen()
        job = fold_job(home, *overrides)
        test = load_split(load_competition(job.experiment.competition, home), "test", home)
        runtime = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
        wanted = StoredImages(job.folder, job.experiment, test, np.arange(len(test)), "test", 1)
        store_predictions(wanted, Grey(), "digest", "model", runtime, seen)
        return bool(seen.batches)

    return run


def test_stores_are_predicted_anew_when_a_table_that_they_use_changes(
    home: Path, predicted: Callable[..., bool]
) -> None:
    assert predicted(*DEPTH) and not predicted(*DEPTH)
    write_depths(home, im013t=3)  # of another split, and within the limits
    assert not predicted(*DEPTH)
    write_depths(home, im001t=3)
    assert predicted(*DEPTH) and not predicted(*DEPTH)
    assert predicted()
    write_depths(home)
    assert not predicted()


def test_stores_of_another_pipeline_are_predicted_anew(
    predicted: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predicted() and not predicted()
    monkeypatch.setattr(stored, "PIPELINE", stored.PIPELINE + 1)
    assert predicted() and not predicted()
    # A store of the time before there was a version.
    current = stored.prediction_meta
    monkeypatch.setattr(stored, "prediction_meta", without_pipeline(current))
    assert predicted()
    monkeypatch.setattr(stored, "prediction_meta", current)
    assert predicted()


def without_pipeline(made: Callable[..., dict[str, object]]) -> Callable[..., dict[str, object]]:
    return lambda *arguments: {key: value for key, value in made(*arguments).items() if key != "pipeline"}


def test_weights_to_start_from_have_seen_the_same_folds_and_tables(home: Path) -> None:
    swap = fold_job(home, "init=runs/plain")
    swap.folds[:] = 1 - swap.folds
    with pytest.raises(SegfoldError, match="other folds, so it may have seen"):
        start_from(nn.Linear(1, 1), swap)
    write_depths(home, im001t=3)
    job = fold_job(home, "init=runs/deep", *DEPTH)
    with pytest.raises(SegfoldError, match="other tables, so it may have seen"):
        start_from(nn.Linear(1, 1), job)
    assert fold_job(home, "init=runs/deep").bound == replace(job, experiment=fold_job(home).experiment).bound


def test_a_run_without_its_settings_is_not_gone_on_with(home: Path, refused: Callable[..., str]) -> None:
    config = home / "runs/plain/config.yaml"
    text = config.read_text()
    config.unlink()
    line = refused(*TRAIN, "--fold", "0", "--run", "plain", "seed=4")
    assert "settings cannot be read" in line and "--run NAME" in line and not config.exists()
    config.write_text(text + "key_of_old: 1\n")
    line = refused(*TRAIN, "--fold", "0", "--run", "plain")
    assert "unknown key key_of_old" in line and "--run NAME" in line and "key_of_old" in config.read_text()


@pytest.mark.parametrize(
    ("name", "hint"), [("runs/plain", "plain"), ("..", ""), ("", ""), ("/tmp/x", "x"), ("a/", "a")]
)
def test_a_run_is_a_name_and_no_path(home: Path, refused: Callable[..., str], name: str, hint: str) -> None:
    before = set(home.rglob("*"))
    line = refused(*TRAIN, "--fold", "0", "--run", name)
    assert "expected a name alone" in line and hint in line and set(home.rglob("*")) == before
    assert "expected a name alone" in refused("cv", "--config", "configs/small.yaml", "--summary", "--run", name or ".")


@pytest.mark.parametrize("fold", ["2", "9" * 21, "9" * 5000, "-1", "1.0", "\u0661", ""])
def test_a_fold_is_a_number_below_k(refused: Callable[..., str], fold: str) -> None:
    assert "expected a number from 0 to 1" in refused(*TRAIN, f"--fold={fold}", "--run", "plain")


def test_a_copied_or_renamed_fold_is_named(home: Path, refused: Callable[..., str]) -> None:
    shutil.rmtree(home / "runs/plain/fold1")
    (home / "runs/plain/fold0").rename(home / "runs/plain/fold1")
    line = refused(*TRAIN, "--fold", "1", "--run", "plain")
    assert "runs/plain/fold1 holds fold 0, copied or renamed" in line
