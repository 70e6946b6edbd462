"""Look for what a score will not tell: shift from training to test images, near-duplicates, suspicious labels.

Writes tables (CSV), pictures (PNG) and a summary (JSON) under audit/COMPETITION/. Labels are held against the out-of-fold
predictions of the runs that are given; images need no run.
"""

import argparse
from typing import TYPE_CHECKING

from segfold.cli.shell import HOME, finite_number
from segfold.paths import user_path

if TYPE_CHECKING:
    from segfold.audit.whole import Audit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", type=user_path, metavar="RUN", help="run folders, such as runs/*")
    parser.add_argument(
        "--competition", help="name in configs/competitions, or a YAML file (default: the runs', else tgs-salt)"
    )
    parser.add_argument("--folds", type=user_path, metavar="FILE", help="fold file (default: folds/COMPETITION-5.csv)")
    parser.add_argument(
        "--alike",
        type=finite_number,
        default=0.9,
        metavar="R",
        help="correlation from which two images are alike (0.9)",
    )
    parser.add_argument("--fast", action="store_true", help="take runs of fast=true along with others")
    parser.add_argument("--out", type=user_path, metavar="FOLDER", help="where to (default: audit/COMPETITION)")
    parser.add_argument(
        "--device", default="auto", help="to predict what is not predicted yet: auto, cpu, cuda or cuda:N"
    )


def run(arguments: argparse.Namespace) -> int:
    from segfold.audit.files import write_audit
    from segfold.audit.whole import audit
    from segfold.cli.progress import Progress
    from segfold.competition import load_competition
    from segfold.gathering import gather
    from segfold.stopping import Stopping
    from segfold.submission.blended import SubmissionOptions

    with Stopping().installed(), Progress() as progress:
        members, given = [], arguments.competition
        if arguments.runs:
            name = None if given is None else load_competition(given, HOME).name
            options = SubmissionOptions(competition=name, fast=arguments.fast, device=arguments.device)
            gathered = gather(arguments.runs, options, HOME, progress, oof=True)
            competition, members = gathered.competition, [member.oof for member in gathered.members]
        else:
            competition = load_competition(given or "tgs-salt", HOME)
        found = audit(competition, HOME, arguments.folds, members, arguments.alike, progress)
    folder = arguments.out or HOME / "audit" / competition.name
    paths = write_audit(found, folder)
    show(found)
    print(f"{folder}: {', '.join(path.name for path in paths)}")
    return 0


def show(found: "Audit") -> None:
    """What a competitor would say of it."""
    from rich.console import Console
    from rich.table import Table

    from segfold.audit.files import summary

    figures = summary(found)
    table = Table(title=f"audit of {found.competition.name}", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", overflow="fold")
    images = figures["images"]
    table.add_row("images", f"{images['train']:,} to train on, {images['test']:,} to predict")
    table.add_row("constant images", _constant(figures["constant"]))
    table.add_row("shift", _shift(found))
    for title, text in _alike(found, figures["alike"]):
        table.add_row(title, text)
    table.add_row("suspicious labels", _labels(figures["labels"]))
    Console().print(table)
    if found.shift is not None and (clear := [each for each in found.shift.separating if each.alone.beyond_chance]):
        statistics = Table(title="what separates test images from training images", title_justify="left")
        for name in ("number", "AUC alone", "lost if shuffled", "training: 5, 50, 95 %", "test: 5, 50, 95 %"):
            statistics.add_column(name, justify="left" if name == "number" else "right")
        for each in clear[:8]:
            spreads = (" ".join(f"{value:.3g}" for value in part) for part in (each.train, each.test))
            statistics.add_row(each.name, str(each.alone), f"{each.drop:.3f}", *spreads)
        Console().print(statistics)
    _show_labels(found)


def _constant(figures: dict[str, int]) -> str:
    covered = figures["train_with_mask"]
    masks = "" if not figures["train"] else f", {covered:,} of them with a mask" if covered else ", none with a mask"
    return f"{figures['train']:,} training{masks}; {figures['test']:,} test"


def _shift(found: "Audit") -> str:
    from segfold.audit.shift import CLEAR

    shift = found.shift
    if shift is None:
        return "unknown: too few images of a split"
    if not shift.auc.beyond_chance or shift.auc.value < CLEAR:
        verdict = "test images cannot be told from training images"
    elif shift.auc.value < 0.75:
        verdict = "test images differ somewhat from training images"
    else:
        verdict = (
            "test images differ clearly from training images: a score on held-out training images is of other images"
        )
    sides = "" if shift.without_sides is None else f"; without height and width {shift.without_sides}"
    return f"AUC {shift.auc}{sides}: {verdict}"


def _alike(found: "Audit", figures: dict[str, int]) -> list[tuple[str, str]]:
    title = f"alike, r ≥ {figures['least']:g}"
    if not figures["pairs"]:
        return [(title, "no two images")]
    train, count = len(found.train), figures["groups"]
    share = figures["train"] / train
    first = (
        f"{figures['train']:,} training ({share:.1%}) and {figures['test']:,} test images in {count:,} "
        f"group{'s' * (count > 1)} of up to {figures['largest']:,}"
    )
    if share > 0.2:
        first += ": frames of films, or tiles of one picture"
    rows = [(title, first)]
    inside = figures["in_another_fold"]
    if inside is None:
        rows.append(("… across folds", "no fold file: `make folds`"))
    elif not inside:
        rows.append(("… across folds", "none"))
    else:
        advice = "" if share <= 0.2 else ": they flatter a score; groups.csv keeps each group in one fold"
        rows.append(("… across folds", f"{inside:,} of {train:,} images have one in another fold{advice}"))
    if found.test is not None:
        across = figures["test_like_train"]
        rows.append(("… train and test", f"{across:,} of {len(found.test):,} test images have one in the training set"))
    if figures["one_picture"]:
        other = figures["one_picture_other_mask"]
        rows.append(
            (
                "… nearly one picture",
                f"{figures['one_picture']:,} training images; {other:,} with another mask than the other",
            )
        )
    return rows


def _labels(figures: dict[str, int] | None) -> str:
    from segfold.audit.whole import SUSPICIOUS

    if figures is None:
        return 'unknown: they need runs, as in make audit runs="runs/a runs/b"'
    runs = figures["runs"]
    several = f"{len(runs)} runs are" if len(runs) > 1 else "the only run is"  # type: ignore[arg-type]
    return (
        f"{figures['suspicious']:,} in {figures['suspicious_images']:,} images, of {figures['masks']:,} masks, where {several} "
        f"sure of something else (suspicion ≥ {SUSPICIOUS:g})"
    )


def _show_labels(found: "Audit") -> None:
    from rich.console import Console
    from rich.table import Table

    from segfold.audit.whole import SUSPICIOUS

    worst = [each for each in found.suspicions[:10] if each.suspicion >= SUSPICIOUS]
    if not worst:
        return
    position = dict(zip(found.train.ids, range(len(found.train))))
    table = Table(title="the most suspicious labels", title_justify="left")
    for name in ("image", "class", "fold", "suspicion", "mask", "all runs", "any run", "what"):
        table.add_column(name, justify="left" if name in ("image", "class", "what") else "right")
    for each in worst:
        name = found.competition.task.classes[each.label]
        pixels = (f"{number:,}" for number in (each.mask, each.all_runs, each.any_run))
        table.add_row(each.image, name, found.fold(position[each.image]), f"{each.suspicion:.2f}", *pixels, each.kind)
    Console().print(table)
