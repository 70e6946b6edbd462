"""DeconvNet's road as rows: which predictions are scored, from which runs, and what each is held against."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.zoo.systems import CONFIGS, HOME
from segfold.comparison.side import Side, read_side
from segfold.config import load_experiment
from segfold.ensemble.recipe import recipe_text
from segfold.files import write_atomic
from segfold.metrics import ScoreSums
from segfold.observer import SILENT, Observer
from segfold.road import submit
from segfold.statistics.bootstrap import paired
from segfold.submission.blended import SubmissionOptions

AFTER_FIRST = "@snapshot1"
"""Behind a run's name: its weights at the end of the first stage."""

WHOLE = ("predict.boxes=null", "predict.values=probabilities", "predict.merge=mean")
"""Whole images in place of proposals; flips are averaged as anywhere."""

CRF: dict[str, dict[str, Any]] = {"crf": {}}
"""The post step, as DeconvNet's authors set it."""

FCN = "camvid-fcn"
STRIDE = 32
"""Of the encoder: a side of the input over the side of the kernel that sees all that is left of it."""

MARGIN = 250 / 224
"""What a box is stretched to, over what the network sees of it."""


@dataclass(frozen=True)
class Row:
    """One prediction that is scored.

    Attributes:
        name: of the row.
        runs: by name, with the set of weights if need be; several are blended, each with the same weight.
        against: name of the row that it is compared with, image by image; empty: none.
        combine: how several are blended.
        crf: whether a CRF follows.
    """

    name: str
    runs: tuple[str, ...]
    against: str = ""
    combine: str = "mean"
    crf: bool = False

    @property
    def slug(self) -> str:
        """The name as a file's."""
        return "-".join("".join(letter if letter.isalnum() else " " for letter in self.name).split())


@dataclass(frozen=True)
class Road:
    """What is trained and scored on one set.

    Attributes:
        name: of the set.
        config: of DeconvNet's two stages.
        results: file of its figures.
        command: by which the marks in the document know its table.
        folder: below the working folder, where data, folds and runs lie.
        competition: its file; None for what the config names.
        fcn: whether there is an FCN to make EDeconvNet with.
    """

    name: str
    config: Path
    results: Path
    command: str
    folder: str = ""
    competition: Path | None = None
    fcn: bool = False

    def settings(self, size: int | None, images: int | None) -> list[str]:
        """Overrides of the config for another side of the input, which all that goes with it follows, or another length.

        Args:
            size: pixels, a multiple of 32.
            images: that both stages see together.
        """
        experiment = load_experiment(self.config)
        found = [f"competition={self.competition}"] if self.competition else []
        if size is not None:
            found += [f"input.size={size}", f"model.fc_kernel={size // STRIDE}"]
            found += [f"stages.{name}.boxes.resize={round(size * MARGIN)}" for name in experiment.stages]
        if images is not None:
            epochs = sum(stage.epochs for stage in experiment.stages.values())
            found.append(f"sample.images={max(2, round(images / epochs))}")
        return found

    def rows(self, run: str) -> list[Row]:
        """What is scored, in this order, of a run of DeconvNet."""
        first, second, whole = "stage 1, proposals", "stage 2, proposals", whole_of(run)
        found = [
            Row("stage 1, whole image", (whole + AFTER_FIRST,)),
            Row(first, (run + AFTER_FIRST,), "stage 1, whole image"),
            Row("stage 2, whole image", (whole,), "stage 1, whole image"),
            Row(second, (run,), "stage 2, whole image"),
        ]
        if not self.fcn:
            return found
        mean, product = "EDeconvNet, mean", "EDeconvNet, product"
        return [
            *found,
            Row(f"{second}, CRF", (run,), second, crf=True),
            Row("FCN", (FCN,), second),
            Row("FCN, CRF", (FCN,), "FCN", crf=True),
            Row(mean, (run, FCN), "FCN"),
            Row(product, (run, FCN), mean, combine="product"),
            Row(f"{mean}, CRF", (run, FCN), mean, crf=True),
            Row(f"{product}, CRF", (run, FCN), product, combine="product", crf=True),
        ]


def whole_of(run: str) -> str:
    """Name of the run with the same weights that predicts whole images."""
    return f"{run}-whole"


CAMVID = Road(
    "camvid",
    CONFIGS / "camvid-deconvnet.yaml",
    HOME / "benchmarks" / "deconvnet-camvid.json",
    "make deconvnet",
    fcn=True,
)
SCALES = Road(
    "scales",
    HOME / "benchmarks" / "zoo" / "scales-deconvnet.yaml",
    HOME / "benchmarks" / "deconvnet-scales.json",
    "make deconvnet only=scales",
    folder="scales",
    competition=HOME / "benchmarks" / "zoo" / "scales.yaml",
)
ROADS = {road.name: road for road in (CAMVID, SCALES)}


def side_of(row: Row, observer: Observer = SILENT) -> Side:
    """A row's out-of-fold predictions with the numbers that its score is made of; the working folder holds the runs.

    A blend, and what a step follows, is a recipe, which is written to ``recipes``.

    Raises:
        SegfoldError: a run that is not there, or whatever else cannot be predicted or combined.
    """
    paths = [Path("runs") / run for run in row.runs]
    if len(paths) == 1 and not row.crf:
        return read_side(paths[0], observer=observer)
    options = SubmissionOptions(weights=[1.0] * len(paths), combine=row.combine, steps=(), fast=True, dry_run=True)
    recipe = submit(paths, options, observer=observer).recipe.model_copy(update={"steps": CRF if row.crf else {}})
    file = Path("recipes") / f"{row.slug}.recipe.yaml"
    file.parent.mkdir(exist_ok=True)
    with write_atomic(file, "w") as stream:
        stream.write(recipe_text(recipe, file))
    return read_side(file, observer=observer)


def record(row: Row, side: Side, against: Side | None) -> dict[str, Any]:
    """A row's figures: its score, and how much better than another it is by the paired bootstrap over images.

    Raises:
        ValueError: the two are not of the same images.
    """
    train, metric = side.gathered.train, side.gathered.competition.scorer
    score = ScoreSums.of(side.features).score(metric)
    found: dict[str, Any] = {
        "name": row.name,
        "score": round(score.mean, 6),
        "standard_error": None if score.standard_error is None else round(score.standard_error, 6),
        "images": len(side.ids),
        "seconds_an_image": side.members[0].seconds_an_image if len(row.runs) == 1 and not row.crf else None,
    }
    if against is None:
        return found
    if side.ids != against.ids:
        raise ValueError(f"{row.name} and {row.against} are not of the same images")
    groups = None if train.groups is None else train.groups[train.position(side.ids)]
    apart = paired(against.features, side.features, metric, groups=groups)
    return found | {
        "against": row.against,
        "difference": round(apart.difference, 6),
        "difference_error": round(apart.standard_error, 6),
        "low": round(apart.low, 6),
        "high": round(apart.high, 6),
        "probability": apart.probability,
    }
