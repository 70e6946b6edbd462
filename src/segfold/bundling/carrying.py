"""Runs on their way: packed as ``runs.zip`` where they were trained, and taken into ``runs/`` at home, whole or not at all."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors

from segfold.bundling.contents import Files
from segfold.bundling.packing import Written, check_files, fresh_folder, read_manifest, write_zip
from segfold.competition import Competition, load_competition
from segfold.config import differing_keys
from segfold.errors import SegfoldError, shown
from segfold.files import read_lines
from segfold.inference.networks import weights_digest
from segfold.layouts.archive import unpack
from segfold.locks import Lock, alone_in
from segfold.runs.folder import FoldFolder, RunFolder
from segfold.runs.identity import changed_settings
from segfold.runs.record import read_done, read_record, read_run, recorded_inputs
from segfold.training.checkpoint import load as load_checkpoint

MANIFEST = "runs.json"
ZIP = "runs.zip"

_SUFFIXES = {".json", ".jsonl", ".yaml", ".csv", ".safetensors", ".u16", ".f32"}
"""Of files that no reader runs code of."""
_EVENTS = "events.out.tfevents."
_CHECKPOINT = "last.pt"


def pack_run(run: RunFolder, competition: str, path: Path, unfinished: bool = True) -> Written:
    """Writes a run as a zip with the checksums of all files, whole or not at all.

    Out-of-fold predictions go along, those of the test set do not; a finished fold needs no checkpoint any more.

    Args:
        competition: its name.
        unfinished: take folds along that somebody may go on with; not those that are being trained.
    """
    left_out = {fold.path.name for fold in run.folds() if not (fold.finished or unfinished)}
    files: Files = {}
    for file in sorted(run.path.rglob("*")):
        inside = PurePosixPath(file.relative_to(run.path).as_posix())
        needless = inside.name == _CHECKPOINT and (file.parent / "done.json").is_file()
        if file.is_file() and _is_carried(inside) and inside.parts[0] not in left_out and not needless:
            files[f"runs/{run.name}/{inside}"] = file
    return write_zip(files, {"competition": competition, "runs": [run.name]}, path, MANIFEST)


def _is_carried(inside: PurePosixPath) -> bool:
    """Whether a file of a run, by its path in it, belongs to it and is safe to read."""
    if any(part.startswith(".") for part in inside.parts):
        return False
    if "pred" in inside.parts and inside.name.startswith("test."):
        return False
    return inside.suffix in _SUFFIXES or inside.name.startswith(_EVENTS) or inside.name == _CHECKPOINT


@dataclass
class Taken:
    """What has become of the folds of a zip, by run.

    Attributes:
        new: folds that were taken in.
        gone_on: folds that had not come so far here, and were replaced.
        kept: folds that are there already, as far or further.
    """

    new: dict[str, list[int]] = field(default_factory=dict)
    gone_on: dict[str, list[int]] = field(default_factory=dict)
    kept: dict[str, list[int]] = field(default_factory=dict)


def take_in(archive: Path, home: Path = Path(), say: Callable[[str], None] = lambda text: None) -> Taken:
    """Takes the runs of a zip that ``pack_run`` wrote, or of what was unpacked of one, into ``runs/``, whole or not at all.

    All of it is checked before anything is moved: paths, checksums, that no file holds code, that settings, records and
    weights agree, that the competition is the one that is known here, and that runs which are there are of the same
    settings. A fold that is there in an earlier state is replaced; one that is there as it is, or further, stays.

    Args:
        say: told what a user should know of it.

    Raises:
        SegfoldError: whatever is wrong with it; ``runs/`` is as it was.
    """
    place = home / "runs"
    with alone_in(place), fresh_folder(place, "import") as scratch:
        if archive.is_dir():
            shutil.copytree(archive, scratch, dirs_exist_ok=True)
        else:
            unpack(archive, scratch, lambda path: True)
        if not (scratch / MANIFEST).is_file():
            raise SegfoldError(f"{archive} has no {MANIFEST}: expected the runs.zip that a training notebook leaves")
        manifest = read_manifest(scratch / MANIFEST, "runs")
        _check_names(scratch, manifest, archive)
        check_files(scratch, manifest, str(archive))
        runs = [RunFolder(path) for path in sorted((scratch / "runs").iterdir())]
        taken = Taken()
        moves: list[tuple[Path, Path]] = []
        with ExitStack() as stack:
            for run in runs:
                _check_run(run, manifest, archive, home, say)
                moves += _moves(run, RunFolder(place / run.name), taken, archive, stack)
            _move_all(moves, scratch / "replaced")
        return taken


def _check_names(scratch: Path, manifest: dict[str, Any], archive: Path) -> None:
    there = {path.relative_to(scratch).as_posix() for path in scratch.rglob("*") if path.is_file()} - {MANIFEST}
    if strange := sorted(there ^ set(manifest["files"])):
        raise SegfoldError(
            f"{archive}: {shown(strange[0])} is only in the zip or only in its list of files: get it anew"
        )
    for name in sorted(there):
        path = PurePosixPath(name)
        if path.parts[0] != "runs" or len(path.parts) < 3 or not _is_carried(PurePosixPath(*path.parts[1:])):
            raise SegfoldError(
                f"{archive} holds {shown(name)}, which is no part of a run: refused and nothing taken in"
            )
    if not there:
        raise SegfoldError(f"{archive} holds no run: train a fold first")


def _check_run(run: RunFolder, manifest: dict[str, Any], archive: Path, home: Path, say: Callable[[str], None]) -> None:
    """Refuses a run that is not whole, or not of the competition that is known here."""
    name = f"{archive}: runs/{run.name}"
    if not run.config_path.is_file():
        raise SegfoldError(f"{name} has no {run.config_path.name}: get it anew")
    experiment, record = read_run(run), read_record(run)
    if record is not None and record.competition.name != manifest["competition"]:
        raise SegfoldError(f"{name} is of {record.competition.name}, its list says {manifest['competition']}")
    try:
        known = load_competition(experiment.competition, home)
    except SegfoldError:
        say(f"{run.name}: no competition {experiment.competition} here; its own record of it is used")
    else:
        if record is not None and _trained(known) != _trained(record.competition):
            raise SegfoldError(
                f"{name} was trained for another {known.name} than {experiment.competition} says now: restore that file, or "
                "import into another working folder"
            )
    for fold in run.folds():
        if fold.last.is_file():
            load_checkpoint(fold.last)  # of tensors and plain values alone, else refused
        if not fold.finished:
            continue
        done = read_done(fold)
        if changed := changed_settings(done, experiment):
            raise SegfoldError(
                f"{name}/{fold.path.name} was trained with other {', '.join(changed)} than its config.yaml says"
            )
        for weights, digest in done["weights"].items():
            _check_weights(fold.weights(weights), digest, name)


def _trained(competition: Competition) -> dict[str, Any]:
    """What of a competition decides what its networks learn and how they are scored."""
    names = ("task_name", "classes", "scoring", "void", "background", "mask_threshold", "mask_palette", "mask_colours")
    return {name: getattr(competition, name) for name in names}


def _check_weights(path: Path, digest: str, name: str) -> None:
    if not path.is_file() or weights_digest(path) != digest:
        raise SegfoldError(f"{name}: {path.name} is not the file that {path.parent.name}/done.json scored: get it anew")
    try:
        with safetensors.safe_open(path, "pt") as file:
            file.keys()
    except safetensors.SafetensorError as error:
        raise SegfoldError(f"{name}: {path.name} holds no tensors ({error}): get it anew") from None


def _moves(
    run: RunFolder, target: RunFolder, taken: Taken, archive: Path, stack: ExitStack
) -> Iterator[tuple[Path, Path]]:
    """What has to be renamed for a run to be in its place, which is held until the stack closes."""
    if not target.path.exists():
        taken.new[run.name] = [fold.number for fold in run.folds()]
        yield run.path, target.path
        return
    if not target.config_path.is_file():
        raise SegfoldError(f"{target.path} is there and is no run: move it away")
    if differing := differing_keys(read_run(target), read_run(run)):
        raise SegfoldError(
            f"{target.path} is there with other settings than in {archive} ({', '.join(differing)}): rename one of them"
        )
    inputs = [recorded_inputs(read_done(fold)) for each in (target, run) for fold in each.finished_folds()]
    if any(other != inputs[0] for other in inputs):
        raise SegfoldError(f"{target.path} was trained on other data or folds than in {archive}: rename one of them")
    for path in run.path.iterdir():
        if path.is_file() and not (target.path / path.name).exists():
            yield path, target.path / path.name
    for fold in run.folds():
        yield from _fold_moves(run, fold, target.fold(fold.number), taken, archive, stack)


def _fold_moves(
    run: RunFolder, fold: FoldFolder, there: FoldFolder, taken: Taken, archive: Path, stack: ExitStack
) -> Iterator[tuple[Path, Path]]:
    if not there.path.exists():
        taken.new.setdefault(run.name, []).append(fold.number)
        yield fold.path, there.path
        return
    theirs, ours = read_lines(fold.metrics), read_lines(there.metrics)
    if there.finished and (not fold.finished or read_done(fold)["weights"] == read_done(there)["weights"]):
        kept = fold.finished or ours[: len(theirs)] == theirs
    else:
        kept = not fold.finished and len(theirs) <= len(ours) and ours[: len(theirs)] == theirs
    if kept:
        taken.kept.setdefault(run.name, []).append(fold.number)
        return
    if there.finished or theirs[: len(ours)] != ours:
        raise SegfoldError(
            f"{there.path} is there already and has gone another way than the fold in {archive}: move one of them away"
        )
    stack.enter_context(Lock(there.lock))
    taken.gone_on.setdefault(run.name, []).append(fold.number)
    yield fold.path, there.path


def _move_all(moves: Sequence[tuple[Path, Path]], aside: Path) -> None:
    """Renames all or, if one fails, none; what stands in the way is put aside."""
    done: list[tuple[Path, Path]] = []
    aside.mkdir()

    def rename(source: Path, target: Path) -> None:
        source.rename(target)
        done.append((source, target))

    try:
        for number, (source, target) in enumerate(moves):
            if target.exists():
                rename(target, aside / str(number))
            rename(source, target)
    except BaseException:
        for source, target in reversed(done):
            with contextlib.suppress(OSError):
                target.rename(source)
        raise


def run_size(run: RunFolder) -> int:
    """Bytes of all files of a run."""
    return sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
