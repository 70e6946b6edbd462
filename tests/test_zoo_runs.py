"""configs/zoo end to end: every config of TGS trains, stops, goes on, blends and submits; and learns eight images by heart."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from segfold.cli import main
from segfold.competition import load_competition
from segfold.config import load_experiment
from segfold.data.images import load_split
from segfold.files import read_json
from segfold.inference.networks import build_network, image_channels
from segfold.optim import build_optimizer
from segfold.runs.folder import RunFolder
from segfold.training import FoldJob
from small_project import make_project, same, train, weights
from stop_once import StopOnce

ZOO = Path(__file__).parents[1] / "configs" / "zoo"
PATHS = [path for path in sorted(ZOO.glob("*.yaml")) if load_experiment(path).competition == "tgs-salt"]
RATES = {"base": 3e-3, "linknet": 1e-2, "unet-s5-d16": 3e-3}
"""Learning rates for thirty steps where the config's own, for thousands, is too low."""

SMALLER = (
    "competition=configs/competitions/small.yaml",
    "folds.k=9",
    "input.size=32",
    "batch_size=16",
    "predict.batch_size=16",
    "stages.warm.epochs=1",
    "stages.warm.warmup=0",
    "stages.lovasz.epochs=1",
    "stages.lovasz.schedule.cosine.cycles=1",
    "predict.weights=[model, snapshot1]",
    "machine={device: cpu, precision: fp32, compile: false, threads: 1, workers: 0, progress: false}",
)
"""One epoch of 64 images a stage, eight ninths of 72; the architectures are as they are."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("zoo"), count=72)


@pytest.fixture(autouse=True)
def room_on_the_disk(home: Path) -> Iterator[None]:
    """Whole architectures: each leaves checkpoints of hundreds of megabytes."""
    yield
    shutil.rmtree(home / "runs", ignore_errors=True)


def encoder_only_random(path: Path) -> tuple[str, ...]:
    has_weights = "weights" in load_experiment(path).model.model_dump()
    return ("model.weights=none",) if has_weights else ()


def job_of(home: Path, path: Path, run: str) -> FoldJob:
    from segfold.road import fold_job, open_run

    experiment = load_experiment(path, [*SMALLER, *encoder_only_random(path)])
    return fold_job(open_run(experiment, run, home), 0)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_from_training_to_submission(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = job_of(home, path, f"{path.stem}-whole")
    assert len(whole.training_rows) == 64
    done = train(whole)
    assert (done["steps"], done["samples"], set(done["weights"])) == (8, 128, {"model", "snapshot1"})
    stopped = job_of(home, path, path.stem)
    assert train(stopped, StopOnce(6)) is None  # within the second stage
    train(stopped)
    assert same(weights(stopped), weights(whole))

    monkeypatch.chdir(home)
    assert main(["submit", "--ensemble", f"runs/{path.stem}", "--name", path.stem]) == 0
    manifest = read_json(home / "submissions" / f"{path.stem}.json")
    assert manifest["images"] == 6
    assert RunFolder(home / "runs" / path.stem).fold(0).weights("snapshot1").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_eight_images_are_learnt(path: Path, home: Path) -> None:
    experiment = load_experiment(path, [*SMALLER, *encoder_only_random(path)])
    competition = load_competition(experiment.competition, home)
    images = load_split(competition, "train", home)
    stage = experiment.stages["warm"]
    torch.manual_seed(0)
    network = build_network(experiment, image_channels(images), competition.task).train()
    optimizer = build_optimizer(experiment.optimizer.name, network, **experiment.optimizer.settings)
    for group in optimizer.param_groups:
        group["lr"] = RATES.get(path.stem, stage.lr)
    rows = np.flatnonzero(images.coverage > 0)[:8]
    pixels = torch.stack([torch.tensor(images.images[int(row)]) for row in rows]).permute(0, 3, 1, 2).float()
    masks = torch.stack([torch.tensor(images.masks[int(row)]) for row in rows]).float()[:, None]
    pixels, target = (torch.nn.functional.interpolate(x, size=32) for x in (pixels, masks))
    loss = stage.loss.build().at(1.0)
    values = []
    for _ in range(31):
        output = network(pixels)
        total, _ = loss(output.logits, output.heads, target)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert min(values) < values[0] / 2, values
