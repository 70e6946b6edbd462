"""Every config end to end, made small: it trains, stops, goes on to the same weights, and submits; and learns eight images."""

from pathlib import Path

import pytest

from segfold.cli import main
from segfold.files import read_json
from segfold.optim import cycle_count
from segfold.road import fold_job, open_run
from segfold.settings import Experiment
from segfold.training import FoldJob
from shrunk_configs import PATHS, TEST, TRAIN, eight_images, make_home, name_of, shrunk
from small_project import lines, same, train, weights
from stop_once import StopOnce

QUICK = {"papers-fcn-16s", "papers-unet-original-dsb2018", "zoo-gcn"}
"""Those of ``make test``: one that starts from another run, one with a margin and tiles, one of the zoo."""

RATE = 1e-2
RATES = {"zoo-fcn-r50-d8": 3e-2, "zoo-bootstrapped": 1.2e-2}
"""Learning rates of thirty steps where ``RATE`` does not suit."""

configs = pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if name_of(path) in QUICK else pytest.mark.slow, id=name_of(path)) for path in PATHS],
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("configs"))


def job_of(home: Path, experiment: Experiment, run: str) -> FoldJob:
    """Fold 0 of a run; the run that its weights begin with is trained first."""
    if experiment.init is not None:
        name = Path(experiment.init).name
        (path,) = (path for path in PATHS if path.stem == name and path.parent.name == "papers")
        train(job_of(home, shrunk(path), name))
    return fold_job(open_run(experiment, run, home), 0)


def test_the_quick_ones_are_there() -> None:
    assert {name_of(path) for path in PATHS} >= QUICK


@configs
def test_from_training_to_submission(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, name = shrunk(path), name_of(path)
    whole = job_of(home, experiment, f"{name}-whole")
    assert len(whole.training_rows) == TRAIN
    done = train(whole)
    cycles = [cycle_count(stage.schedule.name, stage.schedule.settings) for stage in experiment.stages.values()]
    snapshots = sum(count for count, stage in zip(cycles, experiment.stages.values()) if stage.snapshots)
    assert {f"snapshot{number}" for number in range(1, snapshots + 1)} <= set(done["weights"])
    assert done["epochs"] == sum(stage.epochs for stage in experiment.stages.values())
    stopped = job_of(home, experiment, name)
    assert train(stopped, StopOnce(done["steps"] - 1)) is None
    assert train(stopped)["score"] == done["score"]
    assert same(weights(stopped), weights(whole))

    monkeypatch.chdir(home)
    assert main(["submit", "--ensemble", f"runs/{name}", "--name", name]) == 0
    assert read_json(home / "submissions" / f"{name}.json")["images"] == TEST


@configs
def test_eight_images_are_learnt(path: Path, home: Path) -> None:
    job = job_of(home, eight_images(path, RATES.get(name_of(path), RATE)), f"{name_of(path)}-eight")
    train(job)
    losses = [float(line["loss"]) for line in lines(job)]  # type: ignore[arg-type]
    assert len(losses) == 30 and min(losses) < losses[0] / 2, losses
