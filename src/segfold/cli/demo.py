"""The whole road on an embedded synthetic competition: data, folds, two short folds of training, ensemble,
checked CSV, and its score against the known answer. Everything stays in runs/.demo."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME

if TYPE_CHECKING:
    from segfold.demo.comparison import Comparison

IMAGES = {"train": 400, "test": 200}
MARGIN = 0.20
"""By how much the ensemble must beat both the all-empty answer and the best grey-level threshold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="any setting of configs/demo.yaml")


def run(arguments: argparse.Namespace) -> int:
    from segfold.cli import main
    from segfold.competition import data_folder, load_competition
    from segfold.demo.comparison import compare
    from segfold.demo.synthetic import generate

    config = Path(__file__).resolve().parents[3] / "configs" / "demo.yaml"
    place = HOME / "runs" / ".demo"
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)  # the verbs work where they are called, and show what a user would type there
    competition = load_competition("synthetic-salt")
    folder = data_folder(competition)
    began = time.monotonic()
    if not folder.exists():
        generate(folder, **IMAGES)
        print(f"{place / folder}: {IMAGES['train']} training and {IMAGES['test']} test images made")
    verbs = [["folds", "--competition", competition.name, "--k", "2"]]
    verbs += [["train", "--config", str(config), "--fold", str(k), *arguments.overrides] for k in range(2)]
    verbs += [["submit", "--ensemble", "runs/demo", "--name", "demo", "--force"], ["board"]]
    for verb in verbs:
        print(f"\n$ segfold {' '.join(verb)}", flush=True)
        if code := main(verb):
            return code
    picture = Path("predictions.png")
    found = compare(Path("submissions/demo.csv"), competition, HOME, picture)
    seconds = time.monotonic() - began
    _show(found, competition.metric, seconds)
    print(f"{picture.resolve()}: predictions in blue, the truth outlined in yellow")
    if found.ensemble < max(found.empty, found.grey) + MARGIN:
        print(f"demo failed: the ensemble should be at least {MARGIN} above both others")
        return 1
    return 0


def _show(found: "Comparison", metric: str, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from segfold.cli.progress import duration

    shown = Table(title=f"{found.images} test images, {metric}, {duration(seconds)}", title_justify="left")
    shown.add_column("prediction")
    shown.add_column("score", justify="right")
    shown.add_row("nothing anywhere", f"{found.empty:.4f}")
    shown.add_row(f"best grey threshold ({found.rule})", f"{found.grey:.4f}")
    shown.add_row("ensemble of two short folds", f"{found.ensemble:.4f}")
    Console().print(shown)
