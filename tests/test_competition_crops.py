"""The experiments that are shipped for competitions of large images: by crops and tiles, all the way to a submission."""

import json
from pathlib import Path

import numpy as np
import pytest

from competition_sets_more import MAKERS
from forked import segfold
from segfold.competition import load_competition
from segfold.config import load_experiment
from segfold.data.images import load_split
from segfold.inference.frames import check_frames
from segfold.inference.manner import PredictionSettings
from segfold.inference.networks import build_network, load_weights
from segfold.inference.predict import predict
from segfold.layouts import large
from segfold.machine import resolve
from segfold.settings import Experiment
from segfold.settings.views import crop_of, sizing_of, views_of
from segfold.store import open_store
from segfold.store.codes import to_probability
from segfold.tasks import FOREGROUND
from small_project import ROOT

SHIPPED = {"hubmap-kidney": "hubmap-crops", "airbus-ships": "airbus-crops"}

# What the tiny sets and a test need otherwise: how much of an image is seen, how often, and by how small a network.
TINY = """\
extends: {config}.yaml
folds: {{k: 2}}
model: {{encoder: test_resnet, weights: none, decoder_channels: 8}}
batch_size: 4
machine: {{device: cpu, precision: fp32, compile: false, threads: 1, workers: 0, progress: false, report: false}}
"""
LESS = {
    "hubmap-kidney": "input: {crop: 64, size: 32}\nsample: {images: 8}\npredict: {tiles: {overlap: 16}, batch_size: 3}\n",
    "airbus-ships": "input: {crop: 32, size: 32}\nsample: {images: 8}\npredict: {tiles: {size: 32}, batch_size: 3}\n"
    "stages: {large: {crop: 64, size: 64, batch_size: 2, sample: {images: 4}}}\n",
}


def shipped(name: str) -> Experiment:
    return load_experiment(ROOT / f"configs/{SHIPPED[name]}.yaml", ["model.weights=none"])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_experiment_is_of_its_competition_whose_file_names_it(name: str) -> None:
    experiment, competition = shipped(name), load_competition(name)
    assert experiment.competition == name and experiment.sample.focus > 0
    assert f"configs/{SHIPPED[name]}.yaml" in (ROOT / f"configs/competitions/{name}.yaml").read_text()
    network = build_network(experiment, 3, competition.task)
    check_frames(network, views_of(experiment), 3)  # no frame is refused
    for stage in experiment.stages.values():
        sizing, crop = sizing_of(experiment, stage), crop_of(experiment, stage)
        assert crop is not None and sizing.scale[0] == sizing.height / crop[0]


def test_slides_are_seen_at_half_their_resolution_and_images_of_ships_whole() -> None:
    slides, ships = (views_of(shipped(name)) for name in SHIPPED)
    assert slides.frames == ((512, 512),) and {view.window.shape for view in slides.views((3000, 2500))} == {
        (1024, 1024)
    }
    (view,) = ships.views((768, 768))
    assert view.window == (0, 0, 768, 768) and view.frame == (768, 768)


def all_are_large() -> None:
    """A tiled TIFF of any size is read in place, as one of hundreds of megabytes is."""
    large.LARGE = 0


def ok(home: Path, *arguments: str) -> str:
    done = segfold(home, *arguments, before=all_are_large)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["hubmap-kidney", pytest.param("airbus-ships", marks=pytest.mark.slow)])
def test_crops_and_tiles_go_the_whole_way(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 0)
    (tmp_path / "download").mkdir()
    made = MAKERS[name](tmp_path / "download", np.random.default_rng(3))
    this, config = ("--competition", name), ("--config", "configs/tiny.yaml")
    (tmp_path / "configs").mkdir()
    (tmp_path / f"configs/{SHIPPED[name]}.yaml").write_text((ROOT / f"configs/{SHIPPED[name]}.yaml").read_text())
    (tmp_path / "configs/tiny.yaml").write_text(TINY.format(config=SHIPPED[name]) + LESS[name])

    ok(tmp_path, "data", *this, "--from", "download")
    said = ok(tmp_path, "train", *config, "--fold", "0", "fast=true")
    index = json.loads(next((tmp_path / f"data/{name}/cache").glob("train-*/index.json")).read_bytes())
    if name == "hubmap-kidney":
        assert len(index["in_place"]) == len(index["ids"]) == 10 and index["files"]["images.bin"] == 0
        assert "training images are smaller than a crop of 64×64" in said
    log = [json.loads(line) for line in (tmp_path / "runs/tiny-fast/fold0/metrics.jsonl").read_text().splitlines()]
    assert log[0]["samples"] == 8

    ok(tmp_path, "predict", "runs/tiny-fast", "--shard", "1/2")
    assert "joined" in ok(tmp_path, "predict", "runs/tiny-fast", "--shard", "2/2")
    ok(tmp_path, "submit", "--ensemble", "runs/tiny-fast", "--name", "out")
    assert "good, 4 images" in ok(tmp_path, "check-csv", "submissions/out.csv", *this)
    assert ok(tmp_path, "score", "truth.csv", "--truth", "truth.csv", *this).partition(" ± ")[0].split()[-1] == "1.0000"
    same_as_predicted_here(tmp_path, name, made.test)


def same_as_predicted_here(home: Path, name: str, test: list[str]) -> None:
    """What is stored of the test images is what the trained network says of their tiles, at the images' own size."""
    experiment = load_experiment(home / "runs/tiny-fast/config.yaml")
    images = load_split(load_competition(name), "test", home)
    network = build_network(experiment, 3, FOREGROUND, fresh=False)
    load_weights(network, home / "runs/tiny-fast/fold0/model.safetensors")
    manner = PredictionSettings.of(experiment, resolve(experiment.machine))
    (place,) = (home / "runs/tiny-fast/fold0/pred").iterdir()
    store = open_store(place, "test", None)
    assert store is not None and sorted(store.ids) == sorted(test)
    counts = []
    for found in predict(network.eval(), images, np.arange(len(images)), manner):
        row = list(images.ids).index(found.id)
        counts.append(len(manner.plan.views(found.planes.shape[1:])))
        assert found.planes.shape == (1, *images.images.shapes[row, :2])
        stored = to_probability(store.codes(store.rows[found.id]))
        assert np.abs(stored - found.planes).max() < 1e-4
    assert max(counts) > 1
