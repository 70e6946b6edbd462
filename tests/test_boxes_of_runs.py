"""Runs that predict by boxes: their stores, what these name, going on after a stop, and what settings are refused."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segfold import road
from segfold.bundling import pace
from segfold.config import differing_keys, load_experiment
from segfold.data.geometry.boxes import BestBoxes
from segfold.data.image_views import ImageViews
from segfold.data.proposals import METHOD, Proposals
from segfold.ensemble.members import find_entries
from segfold.errors import SegfoldError
from segfold.inference import stored
from segfold.inference.manner import PredictionSettings
from segfold.inference.networks import load_weights
from segfold.inference.shards import WeightsFile, predict_missing
from segfold.inference.stored import StoredImages, prediction_meta, store_predictions
from segfold.machine import Runtime
from segfold.observer import Observer
from segfold.runs.folder import FoldFolder
from segfold.settings import Experiment
from segfold.settings.views import views_of
from segfold.store import ProbabilityStore, Shard
from segfold.training import FoldJob
from segfold.training.validation import score_network
from small_project import make_project

RUNTIME = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
ROWS = np.arange(10)


class Told(Observer):
    """Remembers what is told of predictions, up to a stop."""

    def __init__(self, stop: tuple[str, int] = ("", 0)) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.stop = stop

    def predicting(self, title: str, done: int, total: int) -> None:
        self.told.append((title.split()[-1], done, total))
        if self.told[-1][:2] == self.stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("boxes"))


@pytest.fixture(scope="module")
def trained(project: Path) -> tuple[FoldJob, str, nn.Module]:
    """A job that predicts by boxes, the hash of its weights, and its network."""
    settings = experiment(project, "predict={boxes: {count: 3}, batch_size: 7, tta: [identity]}")
    run = road.open_run(settings, "boxes", project)
    done = road.train_fold(run, 0)
    job = road.fold_job(run, 0)
    assert done is not None
    return job, done["weights"]["model"], load_weights(job.network(fresh=False), job.folder.weights())


def with_settings(job: FoldJob, **changes: Any) -> FoldJob:
    """The same job, with other values in parts of its experiment."""
    parts = {name: getattr(job.experiment, name).model_copy(update=values) for name, values in changes.items()}
    return replace(job, experiment=job.experiment.model_copy(update=parts))


def wanted(job: FoldJob, folder: Path | None = None) -> StoredImages:
    place = job.folder if folder is None else FoldFolder(folder)
    return StoredImages(place, job.experiment, job.images, ROWS, "test", job.classes)


def codes(store: ProbabilityStore) -> list[np.ndarray]:
    return [store.codes(row) for row in ROWS]


@pytest.fixture(scope="module")
def stored_codes(trained: tuple[FoldJob, str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    job, digest, network = trained
    place = wanted(job, tmp_path_factory.mktemp("whole"))
    return codes(store_predictions(place, network, digest, "model", RUNTIME))


def test_proposals_are_found_first_and_views_are_counted(
    trained: tuple[FoldJob, str, nn.Module], tmp_path: Path, stored_codes: list[np.ndarray]
) -> None:
    job, digest, network = trained
    seen = Told()
    store = store_predictions(wanted(job, tmp_path), network, digest, "model", RUNTIME, seen)
    source = Proposals(job.images, job.experiment.proposals.search)
    views = ImageViews(job.images, ROWS, views_of(job.experiment), source)
    total = sum(len(views.of(position)) for position in ROWS)
    assert len(ROWS) < total <= 4 * len(ROWS)
    assert seen.told[:10] == [("proposals", number, 10) for number in range(1, 11)]
    assert {title for title, _, _ in seen.told[10:]} == {"identity"} and seen.told[-1][1:] == (total, total)
    for one, other in zip(codes(store), stored_codes, strict=True):
        np.testing.assert_array_equal(one, other)
    whole = with_settings(job, predict={"boxes": None})
    plain = codes(store_predictions(wanted(whole, tmp_path / "plain"), network, digest, "model", RUNTIME))
    assert sum(not np.array_equal(one, other) for one, other in zip(plain, stored_codes)) > 5


@pytest.mark.parametrize("stop", [("proposals", 4), ("identity", 14)])
def test_an_interrupted_prediction_goes_on_to_the_same_bits(
    trained: tuple[FoldJob, str, nn.Module],
    tmp_path: Path,
    stored_codes: list[np.ndarray],
    stop: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, digest, network = trained
    place = wanted(job, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store_predictions(place, network, digest, "model", RUNTIME, Told(stop))
    real, left = stored.predict_strips, []

    def counted(network: nn.Module, images: Any, rows: np.ndarray, *arguments: Any) -> Iterator[Any]:
        left.append(len(rows))
        return real(network, images, rows, *arguments)

    monkeypatch.setattr(stored, "predict_strips", counted)
    found = codes(store_predictions(place, network, digest, "model", RUNTIME))
    assert left == [10] if stop[0] == "proposals" else left[0] < 10
    for one, other in zip(found, stored_codes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shards_make_the_store_that_one_process_makes(
    trained: tuple[FoldJob, str, nn.Module], tmp_path: Path, stored_codes: list[np.ndarray]
) -> None:
    job, digest, network = trained
    place, weights = wanted(job, tmp_path), WeightsFile("model", digest)
    for number in (2, 3, 1):
        images, _ = predict_missing(place, weights, lambda _: network, RUNTIME, shard=Shard(number, 3))
        assert 0 < images < 10 or number == 1
    store = place.stored(digest)
    assert store is not None
    for one, other in zip(codes(store), stored_codes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_store_names_the_boxes_and_the_proposals_that_are_not_as_usual(
    trained: tuple[FoldJob, str, nn.Module],
) -> None:
    job = trained[0]

    def meta(changed: FoldJob) -> dict[str, Any]:
        return prediction_meta("digest", changed.experiment, changed.images)

    plain, boxes = meta(with_settings(job, predict={"boxes": None})), meta(job)
    assert "views" not in plain and "proposals" not in plain
    views = {"boxes": {"count": 3, "scale": 1.2, "least_side": 0.0}}
    assert boxes == {**plain, "views": views, "proposals": {"method": METHOD}}
    others = with_settings(job, proposals={"step": 0.5})
    assert meta(others) == {**boxes, "proposals": {"method": METHOD, "step": 0.5}}
    assert meta(with_settings(others, predict={"boxes": None})) == plain


def test_a_look_during_training_is_at_whole_images(trained: tuple[FoldJob, str, nn.Module]) -> None:
    job, _, network = trained
    plain = with_settings(job, predict={"boxes": None})
    assert score_network(network, job, RUNTIME) == score_network(network, plain, RUNTIME)


def test_what_proposals_take_is_of_the_pace(
    project: Path, trained: tuple[FoldJob, str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "ENOUGH", 0.05)
    entries, _ = find_entries([project / "runs/boxes"], None, project)
    assert pace.stored_pace(entries) is None  # though the store of its held-out images says what its network took
    said: list[str] = []

    class Said(Observer):
        def say(self, text: str) -> None:
            said.append(text)

    found = pace.measured_pace(entries, project, "cpu", Said())
    (proposing,) = (float(line.split()[1]) for line in said if line.startswith("proposals: "))
    (network,) = (float(line.split()[1]) for line in said if line.startswith("boxes: "))
    assert found.seconds == pytest.approx(proposing + network, abs=2e-4) and proposing > 0


def experiment(project: Path, *overrides: str) -> Experiment:
    return load_experiment(project / "configs/small.yaml", overrides)


STAGE = "stages.lovasz.boxes={of: proposals}"


@pytest.mark.parametrize(
    ("overrides", "fit", "boxes", "tiled"),
    [
        (["predict.boxes={}"], "pad", BestBoxes(), False),
        (["predict.boxes={count: 7, least_side: 0.5}", "input.crop=24"], "resize", BestBoxes(7, 1.2, 0.5), False),
        ([STAGE, "predict.boxes={scale: 2}"], "resize", BestBoxes(scale=2), False),
        ([STAGE], "resize", None, False),
        ([STAGE.replace("lovasz", "warm")], "pad", None, False),
        ([STAGE, "stages.lovasz.epochs=0"], "pad", None, False),
        (["input.crop=24"], "pad", None, True),
    ],
)
def test_the_whole_image_is_stretched_where_parts_of_it_were_last(
    project: Path, overrides: list[str], fit: str, boxes: BestBoxes | None, tiled: bool
) -> None:
    plan = views_of(experiment(project, *overrides))
    assert (plan.sizing.fit, plan.boxes, plan.tiles is not None) == (fit, boxes, tiled)
    assert (plan.sizing.height, plan.sizing.width) == (32, 32)
    if boxes is not None:
        (view,) = plan.views((40, 26) if fit == "resize" else (28, 26))
        assert view.window.top == view.window.left == 0 and view.sizing.fit == fit


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["predict={boxes: {}, tiles: {size: 32}}"], "predict.tiles and predict.boxes are both set: .*; take one of"),
        (["predict={boxes: {}, merge: sum}"], "predict.merge=sum adds up logits, .*: set predict.values=logits, or"),
        (["predict.merge=most"], "'mean', 'max' or 'sum'"),
        (["predict.boxes={count: 0}"], "predict.boxes.count"),
    ],
)
def test_settings_that_cannot_be(project: Path, overrides: list[str], problem: str) -> None:
    with pytest.raises(SegfoldError, match=problem) as error:
        experiment(project, *overrides)
    assert "\n" not in str(error.value)


def test_proposals_are_of_a_run_where_it_trains_on_them(project: Path) -> None:
    changed = "proposals.count=99"
    for more, differing in (([], []), (["predict.boxes={}"], []), ([STAGE], ["proposals.count"])):
        assert differing_keys(experiment(project, *more), experiment(project, *more, changed)) == differing


def test_a_usual_batch_of_boxes_has_the_pixels_of_a_usual_batch(project: Path) -> None:
    settings = ("predict={batch_size: null, boxes: {}, values: logits, merge: sum}", "proposals.count=99")
    small, large = (
        PredictionSettings.of(experiment(project, *settings, f"input.size={n}"), RUNTIME) for n in (128, 256)
    )
    assert (small.batch_size, large.batch_size, small.merge) == (64, 16, "sum")
    assert small.proposals is not None and small.proposals.count == 99
    assert list(itertools.pairwise((small.boxes, large.boxes))) == [(BestBoxes(), BestBoxes())]
