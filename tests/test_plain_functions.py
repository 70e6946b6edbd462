"""The road as plain functions: called from another folder, they print nothing and tell an observer what happens."""

import csv
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segfold import road
from segfold.config import load_experiment
from segfold.data.images import load_split
from segfold.ensemble.members import read_entry
from segfold.errors import SegfoldError
from segfold.files import read_json, write_json
from segfold.inference.networks import open_network
from segfold.observer import FoldWork, Moment, Observer
from segfold.runs.folder import RunFolder
from segfold.runs.record import read_done, read_record, read_run
from segfold.store import open_store
from segfold.submission.blended import SubmissionOptions
from small_project import TRAIN, make_project

HEADS = ("model.heads={image: true}", "stages.warm.loss={mask: {bce: 1, dice: 1}, heads: {image: 0.1}}")


def masks_of(path: Path) -> dict[str, np.ndarray]:
    """Masks of a submission, its runs laid down the columns by hand."""
    found = {}
    for row in csv.DictReader(path.open(newline="")):
        flat = np.zeros(26 * 28, bool)
        numbers = list(map(int, row["rle_mask"].split()))
        for start, length in zip(numbers[::2], numbers[1::2]):
            flat[start - 1 : start - 1 + length] = True
        found[row["id"]] = flat.reshape(26, 28).T
    return found


class Notes(Observer):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.works: list[FoldWork] = []
        self.moments: list[Moment] = []
        self.lines: list[Mapping[str, Any]] = []
        self.predicted: dict[str, list[tuple[int, int]]] = {}

    def say(self, text: str) -> None:
        self.said.append(text)

    def training_begins(self, work: FoldWork) -> None:
        self.works.append(work)

    def step(self, moment: Moment, means: Mapping[str, float]) -> None:
        self.moments.append(moment)

    def epoch(self, line: Mapping[str, Any]) -> None:
        self.lines.append(line)

    def predicting(self, title: str, done: int, total: int) -> None:
        self.predicted.setdefault(title, []).append((done, total))


def _refused(*_: object, file: object = None, **__: object) -> None:
    """``print``, which may write to files alone, as numba does when it compiles."""
    if file in (None, sys.stdout, sys.stderr):
        pytest.fail("printed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Notes]:
    """A project in which both folds are trained and a submission is made, from a working folder that is not it."""
    home, elsewhere = make_project(tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("elsewhere")
    notes = Notes()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        patch.setattr("segfold.training.loop.REFRESH_SECONDS", 0.0)
        patch.setattr("builtins.print", _refused)
        run = road.open_run(load_experiment(home / "configs/small.yaml", HEADS), "plain", home)
        for fold in (0, 1):
            assert road.train_fold(run, fold, notes) is not None
        road.submit([run.folder.path], SubmissionOptions(name="all"), home, notes)
        assert list(elsewhere.iterdir()) == []
    return home, notes


def test_an_observer_is_told_of_everything(made: tuple[Path, Notes]) -> None:
    home, notes = made
    assert [(work.fold, work.images, work.epochs, work.steps) for work in notes.works] == [(0, 10, 3, 6), (1, 10, 3, 6)]
    assert [moment.steps_done for moment in notes.moments] == [1, 2, 3, 4, 5, 6] * 2
    assert {moment.stage for moment in notes.moments} == {"warm", "lovasz"}
    assert [line["epoch"] for line in notes.lines] == [1, 2, 3] * 2
    assert len(notes.predicted) == 5 and all(steps[-1][0] == steps[-1][1] for steps in notes.predicted.values())
    said = [line.split()[0] for line in notes.said]
    # Of its ten images with a disc, two coverage classes are too small for two folds.
    assert (
        said[0] == "decoding" and set(said[1:-3]) <= {"masks"} and said[-3:] == ["decoding", "predicting", "predicting"]
    )
    assert (home / "submissions/all.csv").exists() and f"choosing on {TRAIN} images" in notes.predicted


def test_nothing_is_done_twice(made: tuple[Path, Notes], monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = made
    monkeypatch.setattr(road, "train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("segfold.inference.stored.predict_strips", lambda *_, **__: pytest.fail("predicted"))
    run = road.open_run(load_experiment(home / "configs/small.yaml", HEADS), "plain", home)
    again = Notes()
    assert road.train_fold(run, 1, again) == read_json(run.folder.fold(1).done)
    assert again.said == [f"{run.folder.path}/fold1 is done"]
    assert road.submit([run.folder.path], SubmissionOptions(name="all"), home).written.kept


def test_one_fold_predicts_and_runs_blend_as_the_submission_did(made: tuple[Path, Notes]) -> None:
    home, _ = made
    folder = RunFolder(home / "runs/plain")
    entry = read_entry(folder, home, "plain")
    test = load_split(entry.competition, "test", home)
    stores = [road.predict_fold(entry, fold, test, "test") for fold in (0, 1)]
    submitted = road.submit([folder.path], SubmissionOptions(name="all"), home)
    blended = {found.id: found.codes for found in road.blend(submitted.members, "test", list(test.ids))}
    for name in test.ids:
        mean = sum(store.codes(store.rows[name]).astype(int) for store in stores)
        np.testing.assert_array_equal(blended[name], (mean + 1) // 2)
    for name, mask in masks_of(submitted.written.path).items():
        reached = blended[name][0] >= round(submitted.recipe.threshold * 65535)
        assert submitted.recipe.steps or np.array_equal(mask, reached)


def test_scores_of_every_held_out_image(made: tuple[Path, Notes]) -> None:
    """By their masks: what the store says against what the PNG files say, counted by numpy."""
    home, _ = made
    images = load_split(
        road.open_run(read_run(RunFolder(home / "runs/plain")), "plain", home).competition, "train", home
    )
    for fold in RunFolder(home / "runs/plain").finished_folds():
        done = read_done(fold)
        rows = list(csv.DictReader(fold.scores.open(newline="")))
        store = open_store(fold.predictions("model", "identity+hflip"), "oof", None)
        assert store is not None
        assert [row["id"] for row in rows] == done["held_out"] and {row["fold"] for row in rows} == {str(fold.number)}
        for row in rows:
            predicted = store.codes(store.rows[row["id"]])[0] >= 32768
            truth = images.masks[images.position([row["id"]])[0]] > 0  # type: ignore[index]
            inter, union = int((predicted & truth).sum()), int((predicted | truth).sum())
            assert [int(row[name]) for name in ("intersection", "predicted_area", "true_area")] == [
                inter,
                predicted.sum(),
                truth.sum(),
            ]
            hits = [20 * inter > union * (10 + k) for k in range(10)] if union else [True] * 10
            assert float(row["precision"]) == pytest.approx(np.mean(hits))
            assert float(row["iou"]) == pytest.approx(inter / union if union else 1, abs=1e-6)
        assert np.mean([float(row["precision"]) for row in rows]) == pytest.approx(done["score"], abs=1e-6)


@pytest.fixture
def alone(made: tuple[Path, Notes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """The run where there is neither data nor a competition file."""
    shutil.copytree(made[0] / "runs/plain", tmp_path / "runs/plain")
    monkeypatch.chdir(tmp_path)
    yield RunFolder(tmp_path / "runs/plain")


def test_a_network_is_rebuilt_and_exported_without_data(alone: RunFolder, made: tuple[Path, Notes]) -> None:
    network = open_network(alone.fold(0))
    images = load_split(road.open_run(read_run(alone), "plain", made[0]).competition, "test", made[0])
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    for number in range(2):
        pixels[number, :, 2:30, 3:29] = torch.from_numpy(images.images[number].copy()).permute(2, 0, 1)
    # The border of a padded image is a reflection.
    pixels = torch.nn.functional.pad(pixels[..., 2:30, 3:29].float(), (3, 3, 2, 2), mode="reflect").to(torch.uint8)
    with torch.no_grad():
        plain, mirrored = network(pixels).logits.sigmoid(), network(pixels.flip(-1)).logits.sigmoid().flip(-1)
    mean = ((plain + mirrored) / 2)[:, 0, 2:30, 3:29].numpy()
    store = open_store(alone.fold(0).predictions("model", "identity+hflip"), "test", None)
    assert store is not None
    for number in range(2):
        stored = store.probability(store.rows[str(images.ids[number])])[0]
        np.testing.assert_allclose(stored, mean[number], atol=1e-4)

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(x).logits
            return found

    exported = torch.export.export(Logits(), (pixels,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(pixels), network(pixels).logits)


def test_the_record_says_what_a_network_takes_and_gives(alone: RunFolder) -> None:
    values = read_json(alone.record_path)
    assert values["format"] == 1 and values["task"] == "binary" and values["classes"] == ["disc"]
    assert values["image_channels"] == 3 and values["competition"]["metric"] == "precision"
    assert values["normalisation"] == {"mean": [0.5] * 3, "std": [0.5] * 3}  # timm's of test_resnet
    record = read_record(alone)
    assert record is not None and record.competition.name == "small"


def test_a_run_of_another_format_is_read_or_refused_by_name(
    alone: RunFolder, made: tuple[Path, Notes], tmp_path: Path
) -> None:
    values = read_json(alone.record_path)
    write_json(alone.record_path, values | {"format": 2})
    with pytest.raises(
        SegfoldError, match=r"runs/plain is a run folder of format 2, this segfold reads up to 1; update"
    ):
        open_network(alone.fold(0))
    alone.record_path.write_text(json.dumps({"format": 1}))
    with pytest.raises(SegfoldError, match=r"run\.json cannot be used .*; restore it"):
        open_network(alone.fold(0))
    alone.record_path.unlink()
    with pytest.raises(SegfoldError, match=r"before run\.json.* train one of its folds again beside its data"):
        open_network(alone.fold(0))
    # Beside its data it is read as before, and its fold's next start writes what is missing.
    home = made[0]
    shutil.copytree(alone.path, home / "runs/older")
    made_again = road.submit([home / "runs/older"], SubmissionOptions(name="older"), home)
    assert made_again.written.path.read_bytes() == (home / "submissions/all.csv").read_bytes()
    run = road.open_run(read_run(RunFolder(home / "runs/older")), "older", home)
    assert road.train_fold(run, 0) is not None
    assert read_json(run.folder.record_path) == values


def test_a_run_whose_competition_file_is_gone_is_blended_by_its_record(
    made: tuple[Path, Notes], tmp_path: Path
) -> None:
    shutil.copytree(made[0], tmp_path / "home")
    home = tmp_path / "home"
    (home / "configs/competitions/small.yaml").unlink()
    again = road.submit([home / "runs/plain"], SubmissionOptions(name="again"), home)
    assert again.written.path.read_bytes() == (home / "submissions/all.csv").read_bytes()
