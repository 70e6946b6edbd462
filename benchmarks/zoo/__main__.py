"""Train every system for the same short time on real data: ``python -m benchmarks.zoo [--only NAME …]``.

First all speeds are measured, then each architecture trains on as many images as it can see in the time that all are given,
in the same order
and with the same augmentation and optimiser. The default with a part changed sees as many as the default. What is done
stays in ``zoo/``: stopped, the same command goes on. Delete the folder to begin anew.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import document
from benchmarks.measure import commit, machine
from benchmarks.zoo import table
from benchmarks.zoo.paired import difference, image_scores
from benchmarks.zoo.systems import CONFIGS, DEFAULT, Start, System, chosen, run_name, settings
from segfold.errors import SegfoldError
from segfold.files import read_json, write_json
from segfold.paths import user_path

RESULTS = Path(__file__).parents[1] / "zoo.json"
DOCUMENT = Path(__file__).parents[2] / "docs" / "zoo.md"
COMMAND = "make zoo"
WORK = Path("zoo")
FOLD, SIZE, MINUTES, BATCH = 0, 64, 4.0, 16
ENDLESS = 1_000_000
"""Images of an epoch that a probe leaves long before its end."""

WIDTH = 170


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and train what is not done yet; print the table, and write results and document, of what is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="systems; nothing is written then")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of training each (default {MINUTES:g})")
    parser.add_argument("--epochs", type=int, help="so many epochs of all images instead of minutes: for a GPU")
    parser.add_argument("--encoder", default="", metavar="NAME", help="one for all systems that have an encoder")
    parser.add_argument("--weights", default="none", metavar="PATH", help="of that encoder, under timm's names")
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels a side of the input (default {SIZE})")
    options = parser.parse_args(arguments)
    if bool(options.encoder) != (options.weights != "none"):
        parser.error("--encoder and --weights go together")
    weights = options.weights if options.weights == "none" else str(user_path(options.weights).absolute())
    start = Start(options.encoder, weights)
    try:
        wanted = chosen(options.only, start)
    except ValueError as error:
        parser.error(str(error))
    prepare(WORK)
    records: list[table.Record] = []
    code = 0
    try:
        (first,) = chosen([DEFAULT], start)
        default = probed(first, options.size)
        probes = {system: probed(system, options.size) for system in wanted}
        for number, system in enumerate(wanted, 1):
            print(f"{number} of {len(wanted)}: {system.name}", flush=True)
            train(system, default if system.is_ablation else probes[system], options)
            records.append(record(system, probes[system], options.size, first))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        code = 130
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
        code = 2 if error.returncode > 0 else 128 - error.returncode
    except SegfoldError as error:
        print(error, file=sys.stderr)
        code = 2
    if records:
        length = f"{options.epochs} epochs" if options.epochs else f"{options.minutes:g} minutes"
        which = "" if len(records) == len(wanted) else f", {len(records)} of {len(wanted)} systems"
        length += f", encoders {options.encoder} from weights" if options.encoder else ", from random weights"
        title = f"{length}, {options.size}×{options.size}, fold {FOLD}{which}; {machine()}, commit {commit()}"
        table.show(records, title, Console(width=max(Console().width, WIDTH)))
        if not options.only:
            where = {"length": length, "machine": machine(), "commit": commit()}
            write_json(RESULTS, [{**found, **where} for found in records])
            document.put_into(DOCUMENT, COMMAND, table.markdown(records))
            print(f"{RESULTS} and {DOCUMENT} written")
    return code


def prepare(folder: Path) -> None:
    """A working folder whose runs are no one's submission: configs, data and folds are those beside it."""
    folder.mkdir(exist_ok=True)
    for name in ("configs", "data", "folds"):
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(Path("..") / name, target_is_directory=True)


def key_of(system: System, size: int) -> str:
    """The name of what is kept of a system."""
    return "-".join([run_name(system), str(size), *([system.start.encoder] if system.start.encoder else [])])


def probed(system: System, size: int) -> dict[str, Any]:
    """What ``benchmarks.zoo.probe`` finds, from the file of an earlier call if there is one."""
    path = WORK / f"{key_of(system, size)}.json"
    if not path.exists():
        print(f"measuring {system.name} …", flush=True)
        command = [sys.executable, "-m", "benchmarks.zoo.probe", str(CONFIGS / system.config)]
        command += settings(system, size, ENDLESS)
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        write_json(path, json.loads(done.stdout.splitlines()[-1]))
    found: dict[str, Any] = read_json(path)
    return found


def train(system: System, probe: dict[str, Any], options: argparse.Namespace) -> None:
    """Train a system to its end, or go on with it, through segfold's own command.

    Args:
        probe: whose speed says how many images it sees.
    """
    if options.epochs:
        images = ["sample.images=null"]
    else:
        steps = max(round(60 * options.minutes * probe["images_per_second"] / BATCH), 1)
        images = [f"sample.images={steps * BATCH}"]
    overrides = [*settings(system, options.size, BATCH, options.epochs or 1), *images]
    command = [sys.executable, "-m", "segfold", "train", "--config", str(CONFIGS / system.config)]
    command += ["--fold", str(FOLD), "--run", key_of(system, options.size), *overrides]
    subprocess.run(command, check=True, cwd=WORK)


def record(system: System, probe: dict[str, Any], size: int, default: System) -> table.Record:
    """A row of the table.

    Args:
        default: what it is compared with image by image, where that has been trained.
    """
    done = read_json(_done(system, size))
    scores = {name: done[name] for name in ("score", "standard_error", "samples", "seconds")}
    if system != default and _done(default, size).exists():
        mine, others = (image_scores(WORK, key_of(each, size), FOLD) for each in (system, default))
        scores["against"], scores["against_error"] = (round(value, 6) for value in difference(mine, others))
    kind = {"ablation": system.is_ablation, "pretrained": system.is_pretrained}
    return {"name": system.name, **kind, **scores, **probe}


def _done(system: System, size: int) -> Path:
    return WORK / "runs" / key_of(system, size) / f"fold{FOLD}" / "done.json"


if __name__ == "__main__":
    sys.exit(main())
