"""Augmented samples as a network sees them, on a sheet; ``segfold look`` writes one, and the board one for its runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from segfold.board.kept import Kept, key_of
from segfold.board.places import file_stem
from segfold.competition import Competition
from segfold.data.boxes import TrainingBoxes
from segfold.data.geometry.window import Window
from segfold.data.images import ImageSet
from segfold.data.look import contact_sheet, shrunk
from segfold.errors import SegfoldError, one_line
from segfold.files import write_atomic
from segfold.settings import Experiment, Stage
from segfold.settings.views import crop_of, sizing_of
from segfold.training.batches import training_samples
from segfold.training.boxes import BoxSource

BYTES = 300_000
"""Of a sheet of the board; a larger one is written with less detail."""

_FIRST, _OTHERS, _DRAWS, _CELL = 5, 3, 4, 128  # images of the first stage and of others, samples of each, their side
_STAGES = 4
_QUALITIES = (88, 75, 60, 45, 30, 15)


@dataclass(frozen=True)
class Samples:
    """Images and augmented samples of them, each image before its samples.

    Attributes:
        pictures: H×W×C of 0…255 each (of uint16 0…65535): images as they are, the longest shrunk; samples as the network is
            given them, without its margin.
        masks: planes C×H×W of each.
        titles: of each.
        images: how many images.
        kind: what a sample is of its image.
    """

    pictures: list[np.ndarray]
    masks: list[np.ndarray]
    titles: list[str]
    images: int
    kind: Literal["whole", "crop", "box"]


def draw_samples(experiment: Experiment, images: ImageSet, name: str, count: int, draws: int) -> Samples:
    """Draws samples of a stage, as its first epochs do.

    Args:
        images: a split with masks.
        name: of the stage.
        count: images, spread over the coverages, the empty ones among them; there are fewer where the set has fewer.
        draws: samples of each.

    Raises:
        SegfoldError: images that do not fit the input, a stage of boxes whose images have none, settings that the data does
            not fit.
    """
    stage = experiment.stages[name]
    order = np.argsort(images.coverage, kind="stable")
    if stage.boxes is not None and images.coverage.any():
        order = order[images.coverage[order] > 0]
    rows = np.unique(order[np.linspace(0, len(order) - 1, count).astype(int)])
    boxes, sizing = BoxSource(experiment, images, rows).of(name, stage), sizing_of(experiment, stage)
    kind = _kind(experiment, stage, boxes)
    if kind == "whole":
        sizing.check(images.ids[rows], images.images.shapes[rows], "image")
    given = Window(sizing.margin, sizing.margin, *sizing.given)
    drawn_from = rows if boxes is None else boxes.rows
    samples = training_samples(experiment, images, drawn_from, stage, None, experiment.seed, boxes=boxes)
    rows = np.unique(drawn_from)
    pictures, masks, titles = [], [], []
    for row in rows:
        positions = np.flatnonzero(drawn_from == row)
        pictures.append(shrunk(images.images.reader(int(row))))
        masks.append(images.task.planes(shrunk(images.masks[int(row)])) if images.masks is not None else np.zeros(1))
        titles.append(str(images.ids[row]))
        for epoch in range(draws):
            position = int(positions[epoch * len(positions) // draws])
            sample = samples[(epoch, position, position)]
            picture = sample["image"].permute(1, 2, 0).numpy()
            pictures.append(picture[given.slices])
            masks.append(images.task.target_planes(sample["mask"].numpy(), sample["valid"][0].numpy()))
            titles.append(f"epoch {epoch + 1}")
    return Samples(pictures, masks, titles, len(rows), kind)


def _kind(experiment: Experiment, stage: Stage, boxes: TrainingBoxes | None) -> Literal["whole", "crop", "box"]:
    if boxes is not None:
        return "box"
    return "whole" if crop_of(experiment, stage) is None else "crop"


def write_samples(
    kept: Kept, files: Path, competition: Competition, train: ImageSet, runs: Mapping[str, Experiment]
) -> list[dict[str, Any]]:
    """Writes a sheet of samples for each way in which runs make theirs, where it is not there yet.

    A sheet holds samples of the first stage, and of others whose samples are made in another way.

    Args:
        files: the board's folder, ``board-files``.
        train: of the competition, with masks.
        runs: experiments by the names of their runs.

    Returns:
        Of each sheet ``runs``, ``file`` below ``files``, ``title``, and ``reason``: why there is no sheet, or none of a
        stage. Whatever the reason, it fails nothing else; ``file`` is then None.
    """
    alike: dict[str, list[str]] = {}
    for name, experiment in runs.items():
        alike.setdefault(json.dumps(_ways(experiment), default=str), []).append(name)
    found = []
    for names in alike.values():
        file, title, reason = _sheet_of(kept, files, competition, train, runs[names[0]])
        found.append({"runs": names, "file": file, "title": title, "reason": reason})
    return found


def _ways(experiment: Experiment) -> dict[str, Any]:
    """All that samples follow from but the data: of each stage that is on the sheet, by its name."""
    ways: dict[str, Any] = {}
    for name, stage in _trained(experiment).items():
        sample = stage.sample or experiment.sample
        way = {
            "augment": {step: chosen.model_dump() for step, chosen in (stage.augment or experiment.augment).items()},
            "sizing": asdict(sizing_of(experiment, stage)),
            "crop": crop_of(experiment, stage),
            "boxes": None if stage.boxes is None else stage.boxes.model_dump(),
            "proposals": None if stage.boxes is None else experiment.proposals.model_dump(),
            "focus": [sample.focus, sample.focus_on],
            "input": experiment.input.model_dump(),
            "seed": experiment.seed,
        }
        if way not in ways.values():
            ways[name] = way
    return dict(list(ways.items())[:_STAGES])


def _trained(experiment: Experiment) -> dict[str, Stage]:
    """The stages that last an epoch or more; the first where none does."""
    stages = experiment.stages
    return {name: stage for name, stage in stages.items() if stage.epochs} or dict(list(stages.items())[:1])


def _sheet_of(
    kept: Kept, files: Path, competition: Competition, train: ImageSet, experiment: Experiment
) -> tuple[str | None, str, str | None]:
    """The file of a sheet, its title, and what is wrong."""
    ways = _ways(experiment)
    data = train.fingerprints(experiment.input.channels)
    key = key_of(ways, data, train.task.name, train.task.classes, _FIRST, _OTHERS, _DRAWS, _CELL, BYTES)
    name = f"samples/{file_stem(competition.name)}-{key[:12]}.jpg"
    title = f"images, and {_DRAWS} samples of each as the network sees them in training"
    if len(ways) > 1:
        title += f": stages {', '.join(ways)}"
    if kept.current(name, key):
        return name, title, None
    parts: list[tuple[str, Samples]] = []
    reasons: list[str] = []
    for stage in ways:
        try:
            parts.append((stage, draw_samples(experiment, train, stage, _OTHERS if parts else _FIRST, _DRAWS)))
        except Exception as error:  # a board is no place to fail at what a training would be refused for
            kind = "" if isinstance(error, SegfoldError) else f"{type(error).__name__}: "
            reasons.append(one_line(f"{kind}{error}"))
    if not parts:
        return None, title, "; ".join(reasons)
    kept.begin(name)
    _write_sheet(files / name, parts)
    kept.made_from(name, key if not reasons else key_of(key, reasons))  # what lacks a stage is tried again
    return name, title, "; ".join(reasons) or None


def _write_sheet(path: Path, parts: Sequence[tuple[str, Samples]]) -> None:
    pictures = [picture for _, samples in parts for picture in samples.pictures]
    masks = [mask for _, samples in parts for mask in samples.masks]
    titles = []
    for stage, samples in parts:
        for place, title in enumerate(samples.titles):
            first = len(parts) > 1 and place % (_DRAWS + 1) == 0
            titles.append(f"{stage}: {title}" if first else title)
    sheet = cv2.cvtColor(
        contact_sheet(pictures, masks, titles=titles, columns=_DRAWS + 1, cell=_CELL), cv2.COLOR_RGB2BGR
    )
    for quality in _QUALITIES:
        data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1]
        if len(data) <= BYTES:
            break
    with write_atomic(path) as file:
        file.write(data.tobytes())
