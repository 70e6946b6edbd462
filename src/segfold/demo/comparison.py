"""How good a submission of the embedded competition is: beside what any prediction must beat, and as a picture."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from segfold.competition import Competition, data_folder
from segfold.data.images import ImageSet, load_split
from segfold.data.look import contact_sheet
from segfold.demo.baselines import all_empty, best_grey_threshold
from segfold.files import write_atomic
from segfold.layouts.rle import decode
from segfold.layouts.table import read_table
from segfold.metrics import CountMetric
from segfold.submission.check import image_shapes
from segfold.submission.score import score_submission

SHOWN = 16


@dataclass(frozen=True)
class Comparison:
    """Scores on the test images.

    Attributes:
        images: how many there are.
        rule: the best grey threshold, in words.
    """

    images: int
    empty: float
    grey: float
    rule: str
    ensemble: float


def compare(csv: Path, competition: Competition, home: Path, picture: Path) -> Comparison:
    """Scores of a submission and of the baselines; draws some of its masks.

    Args:
        picture: PNG to write, predictions in blue and the truth outlined in yellow.
    """
    truth_path = data_folder(competition, home) / "solution.csv"
    shapes = image_shapes(competition, home)
    images = load_split(competition, "test", home)
    truth, predicted = (_masks(path, competition, images, shapes) for path in (truth_path, csv))
    _draw(images, predicted, truth, picture)
    metric = competition.scorer
    assert isinstance(metric, CountMetric)
    grey, rule = best_grey_threshold(list(images.images), truth, metric)
    return Comparison(
        images=len(truth),
        empty=all_empty(truth, metric),
        grey=grey,
        rule=rule,
        ensemble=score_submission(csv, truth_path, competition, shapes).mean,
    )


def _masks(
    path: Path, competition: Competition, images: ImageSet, shapes: dict[str, tuple[int, int]]
) -> list[np.ndarray]:
    """The masks of a CSV, in the order of ``images``."""
    form = competition.form
    columns = [form.id_column, form.mask_column]
    table = read_table(path, columns)
    text = dict(zip(table[columns[0]], table[columns[1]]))
    return [decode(text[name], shapes[name], form.order) for name in images.ids]


def _draw(images: ImageSet, predicted: list[np.ndarray], truth: list[np.ndarray], path: Path) -> None:
    """A sheet of test images of all coverages, black ones left out."""
    order = np.argsort([mask.sum() for mask in truth], kind="stable")
    order = order[~images.constant[order]]
    rows = order[np.linspace(len(order) // 4, len(order) - 1, SHOWN).astype(int)]
    sheet = contact_sheet(
        [images.images[row] for row in rows],
        [predicted[row] for row in rows],
        outlines=[truth[row] for row in rows],
        columns=8,
        cell=121,
    )
    with write_atomic(path) as file:
        file.write(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
