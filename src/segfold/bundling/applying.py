"""On a host: a bundle's recipe applied to the test images that are mounted, whatever they are."""

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from segfold.bundling.contents import RECIPE, Applied, read_applied
from segfold.bundling.mounted import caches_in, find_data, find_sample, lay_out, link_data
from segfold.competition import Competition
from segfold.data.source import find_source
from segfold.errors import SegfoldError
from segfold.files import write_atomic
from segfold.gathering import gather
from segfold.layouts.ids import one_form
from segfold.observer import SILENT, Observer
from segfold.predicting import predict_fold
from segfold.road import submit
from segfold.store import Shard
from segfold.submission.blended import SubmissionOptions
from segfold.submission.forms import Encoded, Named, Table, form_of, image_ids, sample_order

NAME = "submission"
_OPTIONS = SubmissionOptions(recipe=Path(RECIPE), without_train=True, name=NAME, force=True)


@dataclass(frozen=True)
class Made:
    """A submission that a host has made.

    Attributes:
        images: how many were predicted.
        blank: images that the sample submission names and that are not there; their masks are empty.
        added: images that are there and that the sample submission does not name.
    """

    path: Path
    images: int
    blank: int
    added: int


def apply(bundle: Path, inputs: Path, working: Path, scratch: Path, observer: Observer = SILENT) -> Made:
    """Writes ``submission.csv``, or ``submission.zip`` of pictures, for the mounted test images.

    It has the rows of the mounted sample submission in their order: those of images that are not there with empty masks;
    images that it does not name follow.

    Args:
        inputs: the folder that everything is mounted in.
        working: where the submission is put.
        scratch: a folder that is there, for predictions; a second call goes on with them.

    Raises:
        SegfoldError: no competition mounted, or whatever a submission refuses.
    """
    lay_out(bundle, scratch)
    with caches_in(scratch):
        return _apply(bundle, inputs, working, scratch, observer)


def _apply(bundle: Path, inputs: Path, working: Path, scratch: Path, observer: Observer) -> Made:
    applied = read_applied(Path(RECIPE), scratch)
    competition = applied.competition
    form = form_of(competition)
    root = find_data(competition, "test", inputs)
    if root is None:
        return _without_images(competition, inputs, working, scratch)
    ids = list(find_source(competition, "test", root).ids)
    link_data(competition, root, scratch)
    order = sample_order(competition, ids, scratch)
    there = {one_form(name) for name in ids}
    held = [named for named in order if one_form(_image(named)) in there]
    named = {one_form(image) for image in image_ids(order)}
    added = [name for name in ids if one_form(name) not in named]
    rows = [*held, *added]
    if isinstance(form, Table) and (len(held) < len(order) or added):
        order_here = _whole(rows, form)
        sample = str(competition.form.sample)
        link_data(competition, root, scratch, {sample: _blank_rows(order_here, form)})
    _predict_on_all(bundle, applied, scratch, observer)
    written = submit((), _OPTIONS, scratch, observer).written
    assert written is not None  # what a dry run leaves out
    content = written.path.read_bytes()
    blank = len(named - there)
    if isinstance(form, Table) and blank:
        content = _with_blank_rows(content, [*order, *added], there, form)
    path = working / f"{NAME}{form.suffix}"
    with write_atomic(path) as file:
        file.write(content)
    return Made(path, len(ids), blank, len(added))


def _image(named: Named) -> str:
    return named if isinstance(named, str) else named[0]


def _whole(order: Sequence[Named], form: Table) -> list[Named]:
    """An order in one form: of rows, where some are named by row."""
    if all(isinstance(named, str) for named in order):
        return list(order)
    classes = [form.task.classes[label] for label in form.task.rows]
    parts = ([(named, name) for name in classes] if isinstance(named, str) else [named] for named in order)
    return [row for part in parts for row in part]


def _blank_rows(order: Sequence[Named], form: Table) -> bytes:
    """A submission of empty masks."""
    blank = Encoded({label: [form.form.empty] for label in form.task.rows}, 0)
    return form.content(order, {one_form(image): blank for image in image_ids(order)})


def _with_blank_rows(content: bytes, order: Sequence[Named], there: Collection[str], form: Table) -> bytes:
    """A submission's rows in the order of the sample, those of images that are not there among them, with empty masks."""
    lines: dict[tuple[str, ...], list[list[str]]] = {}
    head, *rows = list(csv.reader(io.StringIO(content.decode())))
    count = len(form.key_columns)
    for row in rows:
        lines.setdefault(tuple(row[:count]), []).append(row)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    blank = csv.reader(io.StringIO(_blank_rows(_whole(order, form), form).decode()))
    for row in list(blank)[1:]:
        writer.writerows(lines.get(tuple(row[:count]), [row]))
    return text.getvalue().encode()


def _without_images(competition: Competition, inputs: Path, working: Path, scratch: Path) -> Made:
    """A submission of empty masks, where the host shows the sample submission and no test image yet."""
    form, root = form_of(competition), find_sample(competition, inputs)
    if root is None or not isinstance(form, Table):
        raise SegfoldError(
            f"no test images of {competition.title} in {inputs}: add the competition as an input of the notebook"
        )
    link_data(competition, root, scratch)
    order = sample_order(competition, [], scratch)
    path = working / f"{NAME}{form.suffix}"
    with write_atomic(path) as file:
        file.write(_blank_rows(order, form))
    return Made(path, 0, len(image_ids(order)), 0)


def _predict_on_all(bundle: Path, applied: Applied, scratch: Path, observer: Observer) -> None:
    """Has each of several GPUs predict a share of the folds; what one leaves is predicted by the submission."""
    count = torch.cuda.device_count()
    folds = sum(len(entry.used(None)) for entry in applied.entries)
    if (count := min(count, folds)) < 2:
        return
    observer.say(f"predicting {folds} folds on {count} GPUs")
    command = [sys.executable, "-m", "segfold", "host", str(bundle), "--scratch", str(scratch), "--share"]
    shares = [
        subprocess.Popen([*command, f"{number + 1}/{count}"], env={**os.environ, "CUDA_VISIBLE_DEVICES": device})
        for number, device in enumerate(_visible(count))
    ]
    for number, share in enumerate(shares):
        if share.wait():
            observer.say(f"share {number + 1} of {count} ended with exit code {share.returncode}; going on without it")


def _visible(count: int) -> list[str]:
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if len(named) >= count else [str(number) for number in range(count)]


def predict_share(scratch: Path, share: Shard, observer: Observer = SILENT) -> int:
    """Predicts the mounted test images with a share of the folds of all runs, in a folder that ``apply`` has laid out.

    Returns:
        How many folds.
    """
    with caches_in(scratch):
        gathered = gather((), _OPTIONS, scratch, observer)
        folds = [(member.entry, fold, digests) for member in gathered.members for fold, digests in member.used.items()]
        mine = folds[share.number - 1 :: share.count]
        for entry, fold, digests in mine:
            predict_fold(entry, fold, gathered.test, "test", digests, gathered.machine, observer)
    return len(mine)


def roomier(*places: Path) -> Path:
    """Of some folders the one on the disk with the most room."""
    return max(places, key=lambda place: shutil.disk_usage(place).free)
