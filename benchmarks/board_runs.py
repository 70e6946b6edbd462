"""Made-up runs at any scale, with the files that training leaves behind, and no network behind them.

``python -m benchmarks.board_runs HOME --runs 4 --images 40`` makes a working folder with competitions, folds, runs,
submissions and an audit. Predictions are the truth through smooth noise, some of it the same for all runs: so that runs
differ in skill and err together, as real ones do. Nothing depends on the time, or on how many threads there are.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np

from benchmarks.board_sets import make_competition, smooth
from segfold import road
from segfold.competition import Competition
from segfold.config import check_experiment, dump_yaml
from segfold.data.images import ImageSet, load_split
from segfold.environment import environment
from segfold.files import write_atomic, write_json
from segfold.inference.stored import StoredImages, tta_name
from segfold.runs.folder import RunFolder
from segfold.runs.record import RunRecord, write_record
from segfold.settings import Experiment
from segfold.store import ProbabilityStore, StoreWriter
from segfold.training import FoldJob
from segfold.training.finish import write_done

FOLDS = 5
NAMES = ("unet-resnet34", "unet-seresnext50", "<script>alert(document.title)", "linknet-resnet34")
"""Of the first runs; the third is a name that a page must not take for its own markup."""

_ENCODERS = {"resnet34": 21.3e6, "seresnext50_32x4d": 25.6e6, "resnet50": 23.5e6, "efficientnet_b3": 10.7e6}
_MODELS = ("unet", "linknet", "dlinknet")
_NOISES, _UNIT = 61, 1024
_TABLE = (65535 / (1 + np.exp(-10 * np.arange(-4 * _UNIT, 4 * _UNIT) / _UNIT)) + 0.5).astype(np.uint16)
"""Codes of values of −4 to 4, in steps of 1/1024."""


@dataclass(frozen=True)
class Scenes:
    """What there is to see in the images of a split, as a perfect eye would see it but for what all runs get wrong.

    Attributes:
        planes: N×C×H×W int16 in units of 1/1024, above 0 where a class is.
    """

    images: ImageSet
    planes: np.ndarray


@dataclass(frozen=True)
class Made:
    """A competition with its images, for runs to be made of it."""

    home: Path
    competition: Competition
    folds: int
    train: ImageSet
    test: ImageSet | None

    @cached_property
    def train_scenes(self) -> Scenes:
        return scenes(self.train, self.train.masks, 1)

    @cached_property
    def test_scenes(self) -> Scenes:
        """Of the test images, whose truth is borrowed from training images."""
        assert self.test is not None and self.train.masks is not None
        masks = [self.train.masks[number * 7 % len(self.train)] for number in range(len(self.test))]
        return scenes(self.test, masks, 2)


def made_competition(home: Path, name: str, train: int, test: int, folds: int = FOLDS) -> Made:
    """Makes ``salt``, ``streets`` or ``organs`` and loads it; see ``benchmarks.board_sets``."""
    competition = make_competition(home, name, train, test)
    train_set = load_split(competition, "train", home)
    return Made(home, competition, folds, train_set, load_split(competition, "test", home) if test else None)


def scenes(images: ImageSet, masks: Any, seed: int) -> Scenes:
    """The scenes of all images, which have one size."""
    task, shape = images.task, tuple(images.images.shapes[0, :2])
    rng = np.random.default_rng(seed)
    pool = [smooth(rng, shape, 7) for _ in range(_NOISES)]
    difficulty = np.exp(rng.normal(-1.7, 0.7, len(images)))
    planes = np.empty((len(images), len(task.classes), *shape), np.int16)
    for row, mask in enumerate(masks):
        for index, plane in enumerate(task.planes(mask)):
            seen = 1.8 * (cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 2.5) - 0.5)
            seen += difficulty[row] * pool[(row * 5 + index * 17) % _NOISES]
            planes[row, index] = np.clip(seen * _UNIT, -3 * _UNIT, 3 * _UNIT)
    return Scenes(images, planes)


class Eye:
    """How a run sees: through noise of its own, which another fold's network sees a little otherwise.

    Args:
        skill: 1 sees much, 0 little.
    """

    def __init__(self, seed: int, skill: float, shape: tuple[int, int]) -> None:
        rng = np.random.default_rng(seed)
        self.noise = np.stack([smooth(rng, shape, 4) * _UNIT for _ in range(_NOISES)]).astype(np.int16)
        self.loudness = 0.3 - 0.17 * skill

    def codes(self, planes: np.ndarray, row: int, fold: int, exclusive: bool) -> np.ndarray:
        """C×H×W uint16 of the image in a row."""
        out = np.empty(planes.shape, np.uint16)
        for index in range(len(planes)):
            noise = self.noise[(row * 3 + index * 11 + fold * 29) % _NOISES]
            _blend(planes[index], noise, int(self.loudness * 256), _TABLE, out[index])
        return _shares(out) if exclusive else out


@numba.njit(nogil=True, cache=True)
def _blend(plane: Any, noise: Any, loudness: Any, table: Any, out: Any) -> None:
    half = len(table) // 2
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            place = plane[y, x] + (noise[y, x] * loudness >> 8) + half
            out[y, x] = table[min(max(place, 0), len(table) - 1)]


def _shares(codes: np.ndarray) -> np.ndarray:
    """Probabilities that add up to one over the classes, as codes."""
    power = (codes.astype(np.float64) + 1) ** 2
    return (65535 * power / power.sum(axis=0) + 0.5).astype(np.uint16)


def experiment_of(made: Made, number: int) -> Experiment:
    """The settings of run ``number``: each differs from the others in something."""
    encoder, model = list(_ENCODERS)[number // 2 % 4], _MODELS[number // 3 % 3]
    values: dict[str, Any] = {
        "competition": made.competition.name,
        "folds": {"k": made.folds},
        "input": {"size": 128, "fit": "pad"},
        "model": {"name": model, "encoder": encoder, "weights": "none"},
        "augment": {
            "hflip": {"p": 0.5},
            "affine": {"shift": 0.1, "scale": 0.1, "rotate": 5 * (1 + number % 3), "p": 0.5},
        },
        "batch_size": 16 * (1 + number % 2),
        "stages": {
            "warm": {"epochs": 12, "loss": {"mask": {"bce": 1, "dice": 1 + number % 2}}, "lr": 1e-3},
            "fine": {"epochs": 8, "loss": {"mask": {"dice": 1}}, "lr": 5e-4, "schedule": "cosine"},
        },
        "validate": {"every": 2},
        "machine": {"device": "cpu", "precision": "fp32", "compile": False},
    }
    return check_experiment(values, f"run {number}")


def skill_of(number: int) -> float:
    """Of run ``number``, 0…1."""
    return 0.3 + 0.65 * ((number * 37) % 50) / 49


def make_run(
    made: Made,
    number: int,
    name: str | None = None,
    folds: Sequence[int] | None = None,
    test: bool = True,
) -> RunFolder:
    """``runs/<name>``, with finished folds.

    Args:
        number: its settings, its skill and its noise follow from it.
        folds: that are finished; None for all.
        test: whether the folds have predicted the test images too.
    """
    run = RunFolder(made.home / "runs" / (run_name(number) if name is None else name))
    run.path.mkdir(parents=True, exist_ok=True)
    experiment = experiment_of(made, number)
    jobs = [fold_job(made, experiment, run, fold) for fold in range(made.folds)]
    with write_atomic(run.config_path, "w") as file:
        file.write(dump_yaml(experiment))
    normal = (0.485, 0.456, 0.406)[: jobs[0].channels], (0.229, 0.224, 0.225)[: jobs[0].channels]
    write_record(run, RunRecord(made.competition, jobs[0].channels, *normal))
    write_json(run.environment_path, {**_environment(), "device": "cpu (x86_64)", **jobs[0].bound})
    eye = Eye(1000 + number, skill_of(number), tuple(made.train.images.shapes[0, :2]))
    for fold in range(made.folds) if folds is None else folds:
        finish(made, jobs[fold], eye, number, test)
    return run


def run_name(number: int) -> str:
    """Of run ``number``."""
    return NAMES[number] if number < len(NAMES) else f"{_MODELS[number // 3 % 3]}-{number:02}"


def plain_name(number: int) -> str:
    """Of run ``number``, from its settings, as people name runs."""
    encoder = list(_ENCODERS)[number // 2 % 4].split("_32")[0].replace("efficientnet_", "")
    return f"{_MODELS[number // 3 % 3]}-{encoder}{'-dice2' if number % 2 else ''}"


def _environment() -> Mapping[str, Any]:
    global _ENVIRONMENT
    _ENVIRONMENT = _ENVIRONMENT or environment()
    return _ENVIRONMENT


_ENVIRONMENT: dict[str, Any] = {}


def fold_job(made: Made, experiment: Experiment, run: RunFolder, fold: int) -> FoldJob:
    """What a fold's training would be made from; the fold file is made where it is missing."""
    folds = road.experiment_folds(experiment, made.competition, made.train, made.home)
    return FoldJob(experiment, made.competition, made.train, folds, fold, run.fold(fold), made.home)


def finish(made: Made, job: FoldJob, eye: Eye, number: int, test: bool = True) -> dict[str, Any]:
    """All that a finished fold leaves behind but its weights; returns what ``done.json`` holds."""
    folder, digest = job.folder, hashlib.sha256(f"{job.folder.path.parent.name} {job.fold}".encode()).hexdigest()
    folder.path.mkdir(parents=True, exist_ok=True)
    write_epochs(job, number, job.epochs)
    store = predict(made.train_scenes, job, job.validation_rows, "oof", eye, digest)
    if test and made.test is not None:
        predict(made.test_scenes, job, np.arange(len(made.test)), "test", eye, digest)
    seconds = 2400.0 + 35.5 * number + 7 * job.fold
    cost = {
        "epochs": job.epochs,
        "steps": job.total_steps,
        "samples": job.total_images,
        "seconds": seconds,
        "prediction_seconds": round(4.2 + 0.1 * number, 1),
        "parameters": int(list(_ENCODERS.values())[number // 2 % 4] + 1e5 * (number % 7)),
        "device": "cpu",
        "precision": "fp32",
    }
    return write_done(job, store, {"model": digest}, cost)


def predict(scene: Scenes, job: FoldJob, rows: np.ndarray, split: str, eye: Eye, digest: str) -> ProbabilityStore:
    """A store of what a run's fold sees in some images."""
    wanted = StoredImages(job.folder, job.experiment, scene.images, rows, split, job.classes)
    folder = job.folder.predictions("model", tta_name(job.experiment.predict.tta))
    exclusive = scene.images.task.exclusive
    with StoreWriter(folder, split, wanted.ids, wanted.shapes, wanted.meta(digest), sync_seconds=60) as writer:
        for row, name in zip(rows.tolist(), wanted.ids):
            writer.append(str(name), eye.codes(scene.planes[row], row, job.fold, exclusive))
        return writer.finish()


def write_epochs(job: FoldJob, number: int, epochs: int) -> None:
    """``metrics.jsonl`` of so many epochs: losses that fall, scores every second epoch, a rate that the stages set."""
    rng = np.random.default_rng([number, job.fold])
    final = 0.6 + 0.3 * skill_of(number)
    lines, done, samples, seconds = [], 0, 0, 0.0
    for plan in job.stages:
        for epoch in range(plan.epochs):
            done, share = done + 1, (epoch + 1) / plan.epochs
            images = plan.steps * plan.batch_size
            samples, took = samples + images, 100 + float(rng.normal(0, 2))
            seconds += took
            loss = 0.15 + 0.8 * float(np.exp(-done / 5)) + float(rng.normal(0, 0.01))
            parts = {f"mask.{part}": round(loss * factor, 6) for part, factor in (("bce", 0.4), ("dice", 0.6))}
            line: dict[str, Any] = {
                "epoch": done,
                "stage": plan.name,
                "lr": plan.settings.lr * plan.schedule(share * 0.999),
            }
            line |= {"loss": round(loss, 6), **(parts if plan.name == "warm" else {"mask.dice": round(loss, 6)})}
            line |= {"samples": samples, "seconds": round(seconds, 3), "images_per_second": round(images / took, 2)}
            if done % 2 == 0:
                score = final * (1 - float(np.exp(-done / 4))) + float(rng.normal(0, 0.006))
                names = (("score", 1.0), ("standard_error", 0.01), ("iou", 0.97), ("dice", 1.05), ("empty", 0.5))
                line |= {name: round(score * factor, 6) for name, factor in names}
            lines.append(json.dumps(line))
    job.folder.path.mkdir(parents=True, exist_ok=True)
    job.folder.metrics.write_text("".join(f"{line}\n" for line in lines[:epochs]))


def make_runs(
    made: Made, count: int, test_runs: int | None = None, names: Callable[[int], str] = run_name
) -> list[RunFolder]:
    """So many finished runs.

    Args:
        test_runs: how many of them, from the first on, have predicted the test images; None for all.
        names: of runs by their numbers.
    """
    _ = made.train_scenes, made.test is None or made.test_scenes  # once, before threads ask for them
    _environment()
    road.experiment_folds(experiment_of(made, 0), made.competition, made.train, made.home)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wanted = [
            pool.submit(make_run, made, number, names(number), test=test_runs is None or number < test_runs)
            for number in range(count)
        ]
        return [each.result() for each in wanted]


def main() -> None:
    from benchmarks.board_week import make_week

    parser = argparse.ArgumentParser(prog="python -m benchmarks.board_runs", description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--images", type=int, default=40, help="of the training set")
    parser.add_argument("--test", type=int, default=12, help="test images")
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--one", action="store_true", help="the binary competition alone")
    options = parser.parse_args()
    make_week(options.home, options.runs, options.images, options.test, options.folds, others=not options.one)


if __name__ == "__main__":
    main()
