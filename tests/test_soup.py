"""Soups: the mean of several runs' weights, fold by fold, with statistics of its own; never of other folds or networks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn.modules.batchnorm import _BatchNorm

from made_run import change_json, made_run
from segfold.cli import main
from segfold.files import read_json
from segfold.inference.networks import load_weights, save_weights, weights_digest
from segfold.machine import resolve
from segfold.runs.folder import RunFolder
from segfold.training.batches import Batches
from small_project import fold_job, make_project

NETWORKS = {"one": ("model.dropout=0",), "two": ("seed=1",), "wide": ("model.decoder_channels=12",)}
FILTERS = "encoder.net.conv1.0.weight"
SOUP = ("soup", "runs/one", "runs/two", "--run", "mixed")


def with_weights(run: RunFolder, *overrides: str, names: tuple[str, ...] = ("model",)) -> None:
    """Gives the folds of a made run networks of their own, which have predicted nothing yet."""
    home = run.path.parents[1]
    for fold in run.finished_folds():
        digests = {}
        for number, name in enumerate(names):
            torch.manual_seed(sum(map(ord, run.name)) + 100 * fold.number + number)
            network = fold_job(home, *overrides, fold=fold.number).network()
            digests[name] = save_weights(network, fold.weights(name))
        change_json(fold.done, weights=digests, predicted_with=["model"])
        shutil.rmtree(fold.path / "pred")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_project(tmp_path_factory.mktemp("soups"))
    for name, overrides in NETWORKS.items():
        names = ("model", "snapshot1", "snapshot2") if name == "two" else ("model",)
        with_weights(made_run(home, name, *overrides), *overrides, names=names)
    return home


@pytest.fixture
def home(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change."""
    shutil.copytree(project, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def tensors(home: Path, run: str, fold: int, name: str = "model") -> dict[str, np.ndarray]:
    return load_file(home / f"runs/{run}/fold{fold}/{name}.safetensors")


def statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_every_fold_is_the_mean_of_the_same_fold(home: Path) -> None:
    assert main([*SOUP]) == 0
    for fold in (0, 1):
        one, two, mixed = (tensors(home, run, fold) for run in ("one", "two", "mixed"))
        for name in one:
            if not statistic(name):
                expected = (one[name].astype(np.float64) + two[name]) / 2
                assert np.array_equal(mixed[name], expected.astype(np.float32)), name
    assert not np.array_equal(tensors(home, "mixed", 0)[FILTERS], tensors(home, "mixed", 1)[FILTERS])


def test_statistics_are_those_of_the_mean_over_training_images(home: Path) -> None:
    """As torch estimates them for averaged weights, over the batches that would have trained the next epoch."""
    assert main([*SOUP, "--fold", "1"]) == 0
    job = fold_job(home, *NETWORKS["one"], fold=1, run="mixed")
    mixed = load_weights(job.network(fresh=False), job.folder.weights())
    expected = load_weights(job.network(fresh=False), job.folder.weights())
    for module in expected.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    torch.manual_seed(job.seed)
    batches = Batches(job, job.stages[-1], resolve(job.experiment.machine)).of(job.epochs, 0)
    torch.optim.swa_utils.update_bn([batch["image"] for batch in batches], expected)
    found = {name: value for name, value in mixed.state_dict().items() if "running" in name}
    assert found
    for name, value in found.items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert not (home / "runs/mixed/fold0/done.json").exists()


def test_a_soup_is_a_run_like_any_other(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SOUP]) == 0
    out = capsys.readouterr().out
    done = [read_json(home / f"runs/mixed/fold{fold}/done.json") for fold in (0, 1)]
    row = next(line for line in out.splitlines() if line.startswith("│ runs/mixed"))
    assert all(f"{each['score']:.4f}" in row for each in done) and "than runs/" in out
    assert done[0]["soup"] == {
        f"runs/{run}": {"model": weights_digest(home / f"runs/{run}/fold0/model.safetensors")} for run in ("one", "two")
    }
    assert done[0]["weights"]["model"] == weights_digest(home / "runs/mixed/fold0/model.safetensors")
    assert main(["cv", "--config", "configs/small.yaml", "--run", "mixed", "--summary"]) == 0
    assert f"mean over 2 folds: {(done[0]['score'] + done[1]['score']) / 2:.4f}" in capsys.readouterr().out
    assert main(["submit", "--ensemble", "runs/mixed", "--steps", "--name", "soup"]) == 0
    manifest = read_json(home / "submissions/soup.json")
    assert manifest["cv_images"] == 20 and manifest["cv"]["plain"]["mean"] == pytest.approx(
        (done[0]["score"] + done[1]["score"]) / 2, abs=1e-5
    )


def test_a_soup_goes_on_where_it_was_stopped(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SOUP]) == 0
    before = [(home / f"runs/mixed/fold{fold}/done.json").read_bytes() for fold in (0, 1)]
    (home / "runs/mixed/fold1/done.json").unlink()
    capsys.readouterr()
    assert main([*SOUP]) == 0
    out = capsys.readouterr().out
    assert "runs/mixed/fold0 is done" in out and "runs/mixed/fold1 is done" not in out
    assert (home / "runs/mixed/fold0/done.json").read_bytes() == before[0]
    assert read_json(home / "runs/mixed/fold1/done.json")["weights"] == json.loads(before[1])["weights"]


def test_named_sets_are_averaged_too(home: Path) -> None:
    assert main(["soup", "runs/two@snapshots", "runs/one", "--run", "mixed", "--fold", "0"]) == 0
    parts = [tensors(home, *each) for each in (("two", 0, "snapshot1"), ("two", 0, "snapshot2"), ("one", 0))]
    mean = sum(part[FILTERS].astype(np.float64) for part in parts) / 3
    assert np.array_equal(tensors(home, "mixed", 0)[FILTERS], mean.astype(np.float32))
    assert read_json(home / "runs/mixed/soup.json")["of"] == ["runs/two@snapshots", "runs/one"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_averaged_is_refused_by_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def soup(*runs: str) -> str:
        line = refused(capsys, "soup", *runs, "--run", "new")
        assert not (home / "runs/new").exists()
        return line

    assert "runs/one and runs/wide differ in model.decoder_channels" in soup("runs/one", "runs/wide")
    assert "one set of weights is no soup: runs/one/fold0/model.safetensors" in soup("runs/one")
    assert "runs/one/fold1: one fold of a run; give the run" in soup("runs/one/fold0", "runs/one/fold1")
    assert "runs/gone: does not exist" in soup("runs/one", "runs/two", "runs/gone")
    assert "runs/one/fold0 has no weights named swa" in soup("runs/one@swa", "runs/two")
    # Fold 0 of three has trained on what fold 0 of two holds out.
    with_weights(made_run(home, "three", "folds.k=3", folds=(0, 1, 2)), "folds.k=3")
    line = soup("runs/one", "runs/three")
    assert "fold 0 of runs/one and of runs/three were trained on other folds" in line
    path = home / "runs/two/fold0/model.safetensors"
    shutil.copy(home / "runs/two/fold1/model.safetensors", path)
    line = refused(capsys, *SOUP)
    assert f"{path.relative_to(home)} is not the file that the fold scored" in line
    assert not (home / "runs/mixed/fold0/done.json").exists()


def test_folds_that_a_run_misses_are_left_out_or_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(home / "runs/two/fold1")
    assert "fold 1 is not finished in runs/two" in refused(capsys, *SOUP, "--fold", "1")
    assert main([*SOUP]) == 0
    assert "left out fold 1: not finished in runs/two" in capsys.readouterr().out
    assert [fold.number for fold in RunFolder(home / "runs/mixed").finished_folds()] == [0]
    shutil.rmtree(home / "runs/one/fold0")
    line = refused(capsys, "soup", "runs/one", "runs/two", "--run", "none")
    assert "no fold is finished in every run (runs/one 1; runs/two 0)" in line


def test_a_name_that_is_taken_is_refused_on_both_sides(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds a run that was trained" in refused(capsys, "soup", "runs/one", "runs/two", "--run", "wide")
    assert main([*SOUP, "--fold", "0"]) == 0
    line = refused(capsys, "soup", "runs/two", "runs/one@model", "--run", "mixed")
    assert "runs/mixed is the soup of runs/one, runs/two; give this one a name of its own with --run NAME" in line
    # The fold that is left is not to be trained: it would be no soup.
    line = refused(capsys, "train", "--config", "configs/small.yaml", "--fold", "1", "--run", "mixed", *NETWORKS["one"])
    assert "runs/mixed holds means of other runs' weights, which are not trained" in line
