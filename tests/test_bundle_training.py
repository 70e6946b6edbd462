"""A training bundle on a host: its notebook trains what is left of the folds, and ends where one long training would."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from bundled import run_notebook, same_host
from segfold import road
from segfold.bundling.carrying import pack_run, take_in
from segfold.bundling.making import BundleOptions
from segfold.bundling.training import bundle_training, train_session
from segfold.config import load_experiment
from segfold.errors import SegfoldError
from segfold.runs.folder import RunFolder
from segfold.stopping import Stopping
from small_project import make_project

SHORT = ("stages.warm.epochs=1",)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its fold file, and a run that began there and was stopped in its first epoch."""
    home = make_project(tmp_path_factory.mktemp("home"))
    run = road.open_run(load_experiment(home / "configs/small.yaml", SHORT), "small", home)
    assert road.train_fold(run, 0, stopping=Stopping(1e-9)) is None
    return home


@pytest.fixture(scope="module")
def bundle(home: Path) -> Path:
    options = BundleOptions(host=same_host(home / "host.txt"), folder=True, owner="somebody")
    return bundle_training(Path(home / "configs/small.yaml"), SHORT, options, home, 1200).written.path


@pytest.mark.slow
def test_a_session_goes_on_and_what_comes_home_is_what_training_there_gives(
    home: Path, bundle: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "input"
    shutil.copytree(bundle, inputs / "train-small")
    shutil.copytree(home / "data/small", inputs / "small-slug", ignore=shutil.ignore_patterns("cache"))
    (inputs / "last-session").mkdir()
    pack_run(RunFolder(home / "runs/small"), "small", inputs / "last-session/runs.zip")
    done = run_notebook(bundle / "notebook/notebook.ipynb", inputs, tmp_path / "working")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "going on from" in done.stdout and "fold 0: going on after" in done.stdout
    back = tmp_path / "back"
    shutil.copytree(home / "configs", back / "configs")
    assert take_in(tmp_path / "working/runs.zip", back).new == {"small": [0, 1]}
    run = road.open_run(load_experiment(home / "configs/small.yaml", SHORT), "whole", home)
    for fold in (0, 1):
        whole = road.train_fold(run, fold)
        assert whole is not None
        record = json.loads((back / f"runs/small/fold{fold}/done.json").read_text())
        assert record["weights"] == whole["weights"] and record["folds_hash"] == whole["folds_hash"]


def test_a_session_without_time_leaves_what_it_was_given(home: Path, bundle: Path, tmp_path: Path) -> None:
    inputs, scratch = tmp_path / "input", tmp_path / "scratch"
    shutil.copytree(home / "data/small", inputs / "small-slug", ignore=shutil.ignore_patterns("cache"))
    scratch.mkdir()
    manifest = json.loads((bundle / "bundle.json").read_text())
    with pytest.raises(SegfoldError, match=r"^no fold of small began in the time there was"):
        train_session(bundle, manifest, inputs, tmp_path, scratch, 0)
    pack_run(RunFolder(home / "runs/small"), "small", inputs / "runs.zip")
    made = train_session(bundle, manifest, inputs, tmp_path, scratch, 0)
    assert made.unfinished == [0, 1] and not made.finished and not made.failed
    with zipfile.ZipFile(made.written.path) as archive:
        assert "runs/small/fold0/last.pt" in archive.namelist()


def test_the_folder_is_what_kaggles_client_uploads(home: Path, bundle: Path) -> None:
    nbformat.validate(nbformat.read(bundle / "notebook/notebook.ipynb", 4))
    data = json.loads((bundle / "dataset-metadata.json").read_text())
    kernel = json.loads((bundle / "notebook/kernel-metadata.json").read_text())
    assert data["id"] == "somebody/train-small" and kernel["dataset_sources"] == [data["id"]]
    assert (bundle / "folds/small-2.csv").read_bytes() == (home / "folds/small-2.csv").read_bytes()


def test_files_that_the_config_names_go_along(home: Path, tmp_path: Path) -> None:
    weights = tmp_path / "encoder.safetensors"
    weights.write_bytes(b"tensors")
    options = BundleOptions("with-files", host=home / "host.txt", folder=True)
    config = home / "configs/small.yaml"
    made = bundle_training(config, [f"model.weights={weights}"], options, home)
    assert (made.written.path / "weights/encoder.safetensors").read_bytes() == b"tensors"
    assert load_experiment(made.written.path / "config.yaml").model.weights == "weights/encoder.safetensors"
    with pytest.raises(SegfoldError, match=r"nowhere\.pth does not exist; the config names it"):
        bundle_training(config, ["model.weights=nowhere.pth"], replace(options, force=True), home)
