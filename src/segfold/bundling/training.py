"""Training on a host in sessions: packed at home, one fold on each GPU there, ``runs.zip`` from session to session."""

import json
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segfold.bundling.carrying import MANIFEST, ZIP, pack_run, take_in
from segfold.bundling.contents import Files, competition_file, run_files
from segfold.bundling.making import BundleOptions, checked_name, free_target, write_bundle
from segfold.bundling.mounted import caches_in, find_data, folders, lay_out, link_data
from segfold.bundling.notebook import training_notebook
from segfold.bundling.packing import Written
from segfold.competition import load_competition
from segfold.config import dump_yaml, load_experiment
from segfold.data.folds import fold_path
from segfold.errors import SegfoldError
from segfold.observer import SILENT, Observer
from segfold.paths import user_path
from segfold.road import fold_count
from segfold.runs.folder import RunFolder
from segfold.runs.record import read_done
from segfold.settings import Experiment

CONFIG = "config.yaml"
RESERVE = 600.0
"""Seconds before a session's limit at which folds stop; of a short session, a tenth of it."""


@dataclass(frozen=True)
class TrainingBundle:
    """A bundle that trains an experiment elsewhere.

    Attributes:
        internet: whether the notebook needs it, for the encoder's weights.
    """

    written: Written
    wheels: list[str]
    folds: list[int]
    internet: bool


def bundle_training(
    config: Path,
    overrides: Sequence[str],
    options: BundleOptions,
    home: Path = Path(),
    session: float = 12 * 3600,
    observer: Observer = SILENT,
) -> TrainingBundle:
    """An experiment with all that training it elsewhere takes, except the competition's data.

    The fold file goes along where there is one, and weights that the encoder or the folds start from.

    Args:
        session: seconds after which the host ends a session.

    Raises:
        SegfoldError: a bad config, files that it names and that are not there, wheels that cannot be had.
    """
    experiment = load_experiment(config, overrides)
    run = config.stem + ("-fast" if experiment.fast else "")
    name = checked_name(options.name or f"train-{run}")
    target = free_target(name, options, home)
    competition = load_competition(experiment.competition, home)
    experiment, files = _with_files(experiment, home)
    files |= competition_file(experiment.competition, competition)
    folds = list(range(fold_count(experiment, competition)))
    given = fold_path(competition.name, len(folds), home)
    if experiment.folds.file is None and given.is_file():
        files[f"folds/{given.name}"] = given
    files[CONFIG] = dump_yaml(experiment.model_copy(update={"minutes": None})).encode()
    internet = getattr(experiment.model, "weights", None) == "imagenet"
    lines = [f"{len(folds)} folds of {config.name}; each session may take {session / 3600:g} hours."]
    if internet:
        lines.append("The encoder's weights are downloaded: switch the notebook's internet on.")
    details = {"kind": "training", "run": run, "folds": folds}
    notebook = training_notebook(name, competition.title, lines, f"{int(session)}s")
    written, wheels = write_bundle(name, files, notebook, details, competition, options, target, observer, internet)
    return TrainingBundle(written, wheels, folds, internet)


def _with_files(experiment: Experiment, home: Path) -> tuple[Experiment, Files]:
    """An experiment as a host can read it, and the files that it names."""
    files: Files = {}

    def carried(named: str, folder: str) -> str:
        path = user_path(named)
        if not (home / path).is_file():
            raise SegfoldError(f"{named} does not exist; the config names it")
        place = f"{folder}/{path.name}" if path.is_absolute() or ".." in path.parts else path.as_posix()
        files[place] = home / path
        return place

    weights = getattr(experiment.model, "weights", None)
    if isinstance(weights, str) and weights not in ("imagenet", "none"):
        model = experiment.model.model_copy(update={"weights": carried(weights, "weights")})
        experiment = experiment.model_copy(update={"model": model})
    if experiment.folds.file is not None:
        folds = experiment.folds.model_copy(update={"file": carried(str(experiment.folds.file), "folds")})
        experiment = experiment.model_copy(update={"folds": folds})
    if experiment.init is not None:
        other = RunFolder(home / user_path(experiment.init))
        files |= run_files(other, other.name, {fold.number: ["model"] for fold in other.finished_folds()})
        experiment = experiment.model_copy(update={"init": f"runs/{other.name}"})
    return experiment, files


@dataclass(frozen=True)
class Session:
    """What a session has come to.

    Attributes:
        finished: score of each finished fold.
        unfinished: folds to go on with.
        failed: exit codes of folds that ended with an error.
    """

    written: Written
    finished: dict[int, float]
    unfinished: list[int]
    failed: dict[int, int]


def train_session(
    bundle: Path,
    manifest: Mapping[str, Any],
    inputs: Path,
    working: Path,
    scratch: Path,
    seconds: float,
    observer: Observer = SILENT,
) -> Session:
    """Trains the folds of a bundle until they are done or the session nears its end; leaves ``runs.zip``.

    Folds go on from what earlier sessions have left in a mounted ``runs.zip``.

    Args:
        manifest: of the bundle.
        inputs: the folder that everything is mounted in.
        working: where ``runs.zip`` is put, after each fold as well.
        scratch: a folder that is there.
        seconds: of the session.

    Raises:
        SegfoldError: no competition mounted.
    """
    end = time.monotonic() + seconds - min(RESERVE, seconds / 10)
    lay_out(bundle, scratch)
    with caches_in(scratch):
        return _train(manifest, inputs, working, scratch, end, observer)


def _train(
    manifest: Mapping[str, Any], inputs: Path, working: Path, scratch: Path, end: float, observer: Observer
) -> Session:
    experiment = load_experiment(scratch / CONFIG)
    competition = load_competition(experiment.competition, scratch)
    root = find_data(competition, "train", inputs)
    if root is None:
        raise SegfoldError(f"no training images of {competition.title} in {inputs}: add the competition as an input")
    link_data(competition, root, scratch)
    run = RunFolder(scratch / "runs" / str(manifest["run"]))
    _go_on_from(inputs, run, competition.name, scratch, observer)
    folds = [fold for fold in manifest["folds"] if not run.fold(fold).finished]
    crew = _Crew(run, competition.name, working / ZIP, scratch, end, folds)
    try:
        crew.work()
    finally:
        crew.stop()
        written = pack_run(run, competition.name, working / ZIP) if run.config_path.is_file() else None
    if written is None:
        codes = ", ".join(map(str, crew.failed.values()))
        reason = (
            f"ended with exit code {codes}; their own lines above say why" if codes else "began in the time there was"
        )
        raise SegfoldError(f"no fold of {run.name} {reason}" if not codes else f"the folds of {run.name} {reason}")
    finished = {fold: read_done(run.fold(fold))["score"] for fold in manifest["folds"] if run.fold(fold).finished}
    return Session(written, finished, [fold for fold in manifest["folds"] if fold not in finished], crew.failed)


def _go_on_from(inputs: Path, run: RunFolder, competition: str, scratch: Path, observer: Observer) -> None:
    """Takes in what earlier sessions of a run have left, as zips or unpacked."""
    for folder in folders(inputs):
        for source in (folder / ZIP, folder / MANIFEST):
            if not source.is_file():
                continue
            try:
                held = json.loads(
                    zipfile.Path(source, MANIFEST).read_text() if source.name == ZIP else source.read_text()
                )
                if held["competition"] != competition or run.name not in held["runs"]:
                    continue
                taken = take_in(source if source.name == ZIP else folder, scratch, observer.say)
            except (SegfoldError, OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
                observer.say(f"{source} is left out: {error}")
                continue
            found = sorted({*taken.new.get(run.name, []), *taken.gone_on.get(run.name, [])})
            observer.say(f"going on from {source}: fold {', '.join(map(str, found)) or '–'}")


class _Crew:
    """A process for each GPU, or one without, that trains fold after fold."""

    def __init__(
        self, run: RunFolder, competition: str, target: Path, home: Path, end: float, folds: Sequence[int]
    ) -> None:
        self._run, self._competition, self._target, self._home, self._end = run, competition, target, home, end
        self._folds = list(folds)
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.failed: dict[int, int] = {}

    def work(self) -> None:
        """Trains all folds, as far as time allows."""
        count = torch.cuda.device_count()
        devices = [[f"machine.device=cuda:{number}"] for number in range(min(count, len(self._folds)))] or [[]]
        threads = [threading.Thread(target=self._follow, args=(device,), daemon=True) for device in devices]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(1.0)  # a signal is seen between two waits

    def _follow(self, device: list[str]) -> None:
        command = [sys.executable, "-m", "segfold", "train", "--config", CONFIG, "--run", self._run.name]
        while True:
            with self._lock:
                minutes = (self._end - time.monotonic()) / 60
                if not self._folds or minutes <= 0:
                    return
                fold = self._folds.pop(0)
                # What leaves the host is the run's own files: a report would stay behind.
                line = [*command, "--fold", str(fold), *device, f"minutes={minutes:.3f}", "machine.report=false"]
                process = subprocess.Popen(line, cwd=self._home)
                self._processes.append(process)
            code = process.wait()
            with self._lock:
                if code:
                    self.failed[fold] = code
                elif self._run.fold(fold).finished:
                    pack_run(self._run, self._competition, self._target, unfinished=False)

    def stop(self) -> None:
        """Has processes that still train save their state and end."""
        with self._lock:
            self._folds.clear()
            for process in self._processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait()
