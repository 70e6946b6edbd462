"""At home: a bundle of a recipe, or of an experiment that is to be trained elsewhere."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segfold.bundling.contents import Files, code_files, read_applied, recipe_files
from segfold.bundling.host import KAGGLE, lacking, read_host
from segfold.bundling.notebook import dataset_metadata, kernel_metadata, recipe_notebook
from segfold.bundling.pace import Pace, check_fits, measured_pace, stored_pace
from segfold.bundling.packing import Written, write_folder, write_zip
from segfold.bundling.wheels import choose, fetch
from segfold.competition import Competition
from segfold.data.images import load_split
from segfold.environment import git_state
from segfold.errors import SegfoldError, shown
from segfold.observer import SILENT, Observer

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True)
class BundleOptions:
    """How a bundle is made.

    Attributes:
        name: of the bundle; None for that of what it is made from.
        folder: write a data set's folder instead of a zip.
        force: replace a bundle of that name.
        wheels: a folder with the wheels that the host lacks; None to have pip fetch them.
        host: a list of what the host has.
        owner: the user's name on Kaggle, for the files that its client reads.
    """

    name: str | None = None
    folder: bool = False
    force: bool = False
    wheels: Path | None = None
    host: Path = KAGGLE
    owner: str | None = None


@dataclass(frozen=True)
class TimeLimit:
    """What a host allows.

    Attributes:
        seconds: for the whole notebook.
        images: how many it will have; None for as many as there are test images here.
        slower: how many times longer it takes than this machine.
        device: to measure on, as ``machine.device``; None to take what the runs' own predictions took, where all have that.
    """

    seconds: float
    images: int | None = None
    slower: float = 1.0
    device: str | None = None


@dataclass(frozen=True)
class Bundle:
    """A bundle that was made.

    Attributes:
        wheels: packages that go with it.
        networks: sets of weights in it.
        images: that the pace was held to.
        pace: None where nothing was to be measured.
        needed: seconds that the images take.
    """

    written: Written
    wheels: list[str]
    networks: int
    images: int | None = None
    pace: Pace | None = None
    needed: float | None = None


def bundle_recipe(
    recipe: Path,
    options: BundleOptions,
    home: Path = Path(),
    limit: TimeLimit | None = None,
    observer: Observer = SILENT,
) -> Bundle:
    """A recipe with all that applying it takes, as ``bundles/NAME.zip`` or as a folder.

    Args:
        limit: refuse what will not fit; None not to measure.

    Raises:
        SegfoldError: runs that are not there, wheels that cannot be had, images that do not fit the limit, a name that is
            taken.
    """
    name = checked_name(options.name or recipe.name.removesuffix(".yaml").removesuffix(".recipe"))
    target = free_target(name, options, home)
    applied = read_applied(recipe, home)
    pace, images, needed = None, None, None
    if limit is not None:
        pace = stored_pace(applied.entries) if limit.device is None else None
        pace = pace or measured_pace(applied.entries, home, limit.device or "auto", observer)
        images = limit.images
        if images is None:
            images = len(load_split(applied.competition, "test", home, observer.say))
        needed = check_fits(pace, images, limit.seconds, limit.slower)
    files = recipe_files(applied, home)
    networks = sum(len(sets) for entry in applied.entries for sets in entry.used(None).values())
    scores = applied.recipe.scores
    lines = [f"{len(applied.entries)} runs, {networks} sets of weights."]
    if scores is not None:
        lines.append(f"Out of fold {scores.plain.mean:.4f} at the plain threshold, on {scores.plain.images:,} images.")
    details = {"kind": "recipe", "pace": None if pace is None else {"seconds": pace.seconds, "on": pace.measured}}
    notebook = recipe_notebook(name, applied.competition.title, lines)
    written, wheels = write_bundle(name, files, notebook, details, applied.competition, options, target, observer)
    return Bundle(written, wheels, networks, images, pace, needed)


def checked_name(name: str) -> str:
    """A bundle's name. Raises SegfoldError for one that Kaggle or a notebook could not hold."""
    if not _NAME.fullmatch(name):
        raise SegfoldError(
            f"--name {shown(name)}: expected up to 100 letters, digits and . _ + - without a leading dot"
        )
    return name


def free_target(name: str, options: BundleOptions, home: Path) -> Path:
    """Where a bundle goes.

    Raises:
        SegfoldError: one is there already.
    """
    target = home / "bundles" / (name if options.folder else f"{name}.zip")
    if target.exists() and not options.force:
        raise SegfoldError(f"{target} is there already: replace it with --force, or give another --name")
    return target


def write_bundle(
    name: str,
    files: Files,
    notebook: bytes,
    details: Mapping[str, Any],
    competition: Competition,
    options: BundleOptions,
    target: Path,
    observer: Observer,
    internet: bool = False,
) -> tuple[Written, list[str]]:
    """Adds to some files the code, the wheels that the host lacks, and the notebook, and writes all of them.

    Args:
        internet: whether the notebook needs it.

    Returns:
        What was written, and the packages of the wheels.
    """
    host = read_host(options.host)
    wanted = lacking(host)
    with tempfile.TemporaryDirectory(prefix="segfold-wheels-") as scratch:
        if options.wheels is not None:
            wheels = choose(wanted, host, options.wheels)
        else:
            wheels = fetch(wanted, host, Path(scratch), observer.say)
        whole = {**files, **code_files(), "notebook/notebook.ipynb": notebook}
        whole |= {f"wheels/{path.name}": path for path in wheels.values()}
        whole["notebook/kernel-metadata.json"] = kernel_metadata(name, options.owner, competition.slug, internet)
        details = {"name": name, "competition": competition.name, **details, "python": host.python, "git": git_state()}
        if options.folder:
            whole["dataset-metadata.json"] = dataset_metadata(name, options.owner)
            written = write_folder(whole, details, target)
        else:
            written = write_zip(whole, details, target)
    return written, [f"{path.name.split('-')[0]} {path.name.split('-')[1]}" for path in wheels.values()]
