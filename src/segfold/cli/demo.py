"""The whole road on an embedded synthetic competition: data, folds, two short folds of training, ensemble,
checked CSV, and its score against the known answer. Everything stays in runs/.demo."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME

if TYPE_CHECKING:
    import numpy as np

    from segfold.competition import Competition
    from segfold.data.images import ImageSet

SHOWN = 16
IMAGES = {"train": 400, "test": 200}
MARGIN = 0.20
"""By how much the ensemble must beat both the all-empty answer and the best grey-level threshold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="any setting of configs/demo.yaml")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli import main
    from segfold.competition import data_folder, load_competition
    from segfold.demo.synthetic import generate

    config = Path(__file__).resolve().parents[3] / "configs" / "demo.yaml"
    place = HOME / "runs" / ".demo"
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    competition = load_competition("synthetic-salt")
    folder = data_folder(competition)
    began = time.monotonic()
    if not folder.exists():
        generate(folder, **IMAGES)
        print(f"{place / folder}: {IMAGES['train']} training and {IMAGES['test']} test images made")
    verbs = [["folds", "--competition", competition.name, "--k", "2"]]
    verbs += [["train", "--config", str(config), "--fold", str(k), *arguments.overrides] for k in range(2)]
    verbs += [["submit", "--ensemble", "runs/demo", "--name", "demo", "--force"]]
    for verb in verbs:
        print(f"\n$ segfold {' '.join(verb)}", flush=True)
        if code := main(verb):
            return code
    return _compare(Path("submissions/demo.csv"), time.monotonic() - began)


def _compare(csv: Path, seconds: float) -> int:
    from rich.console import Console
    from rich.table import Table

    from segfold.cli.shell import test_shapes
    from segfold.competition import data_folder, load_competition
    from segfold.data.images import load_split
    from segfold.demo.baselines import all_empty, best_grey_threshold
    from segfold.submission.check import score_csv
    from segfold.training.progress import duration

    competition = load_competition("synthetic-salt")
    truth_path = data_folder(competition) / "solution.csv"
    shapes = test_shapes(competition)
    ensemble = score_csv(csv, truth_path, competition, shapes)
    images = load_split(competition, "test")
    truth, predicted = (_masks(path, competition, images, shapes) for path in (truth_path, csv))
    _picture(images, predicted, truth, Path("predictions.png"))
    empty = all_empty(truth, competition.metric)
    grey, rule = best_grey_threshold(list(images.images), truth, competition.metric)
    shown = Table(title=f"{len(truth)} test images, {competition.metric}, {duration(seconds)}", title_justify="left")
    shown.add_column("prediction")
    shown.add_column("score", justify="right")
    shown.add_row("nothing anywhere", f"{empty:.4f}")
    shown.add_row(f"best grey threshold ({rule})", f"{grey:.4f}")
    shown.add_row("ensemble of two short folds", f"{ensemble:.4f}")
    Console().print(shown)
    print(f"{Path.cwd() / 'predictions.png'}: predictions in blue, the truth outlined in yellow")
    if ensemble < max(empty, grey) + MARGIN:
        print(f"demo failed: the ensemble should be at least {MARGIN} above both others")
        return 1
    return 0


def _masks(
    path: Path, competition: "Competition", images: "ImageSet", shapes: dict[str, tuple[int, int]]
) -> list["np.ndarray"]:
    """The masks of a CSV, in the order of ``images``."""
    from segfold.layouts.rle import decode
    from segfold.layouts.table import read_table

    columns = [competition.id_column, competition.mask_column]
    table = read_table(path, columns)
    text = dict(zip(table[columns[0]], table[columns[1]]))
    return [decode(text[name], shapes[name], competition.rle_order) for name in images.ids]


def _picture(images: "ImageSet", predicted: list["np.ndarray"], truth: list["np.ndarray"], path: Path) -> None:
    """A sheet of test images of all coverages, black ones left out."""
    import cv2
    import numpy as np

    from segfold.data.look import contact_sheet
    from segfold.files import write_atomic

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
