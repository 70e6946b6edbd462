"""Train every system for the same short time on real data: ``python -m benchmarks.zoo [--only NAME …]``.

First all speeds are measured, then each architecture trains on as many images as it can see in the time that is given,
in the same order and with the same augmentation and optimiser. The default with a part changed sees as many as the
default. What is done stays in ``zoo/``: stopped, the same command goes on. Delete the folder to begin anew.
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
from benchmarks.zoo.camvid import CAMVID
from benchmarks.zoo.paired import difference, image_scores
from benchmarks.zoo.systems import Comparison, Start, System
from benchmarks.zoo.tgs import TGS
from segfold.errors import SegfoldError
from segfold.files import read_json, write_json
from segfold.paths import user_path
from segfold.resize import Shape

COMPARISONS = {each.competition: each for each in (TGS, CAMVID)}
DOCUMENT = Path(__file__).parents[2] / "docs" / "zoo.md"
WORK = Path("zoo")
FOLD = 0
ENDLESS = 1_000_000
"""Images of an epoch that a probe leaves long before its end."""

WIDTH = 170


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and train what is not done yet; print the table, and write results and document, of what is done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    compared = COMPARISONS[options.competition]
    size = options.size or compared.size
    if compared is TGS and bool(options.encoder) != (options.weights != "none"):
        parser.error("--encoder and --weights go together")
    if compared is not TGS and options.encoder:
        parser.error(f"the systems of {compared.competition} name their encoders: give --weights alone")
    weights = options.weights if options.weights == "none" else str(user_path(options.weights).absolute())
    start = Start(options.encoder, weights)
    try:
        wanted = compared.chosen(options.only, start)
    except ValueError as error:
        parser.error(str(error))
    for system in (system for system in wanted if system.missing):
        print(f"{system.name} is left out: {system.missing}", flush=True)
    wanted = [system for system in wanted if not system.missing]
    prepare(WORK)
    records: list[table.Record] = []
    code = 0
    try:
        (first,) = compared.chosen([compared.default], start)
        probes = {system: probed(compared, system, size) for system in wanted}
        if options.probe:
            records = [record(compared, system, first, probes[system], size) for system in wanted]
        else:
            for number, system in enumerate(wanted, 1):
                print(f"{number} of {len(wanted)}: {system.name}", flush=True)
                paced = probed(compared, first, size) if system.ablation else probes[system]
                train(compared, system, paced, size, options)
                records.append(record(compared, system, first, probes[system], size))
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
        report(compared, records, size, len(wanted), options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("--competition", choices=list(COMPARISONS), default=TGS.competition, help="whose systems")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="systems; nothing is written then")
    parser.add_argument("--join", action="store_true", help="the rows of --only or --probe join the written ones")
    parser.add_argument("--probe", action="store_true", help="measure speed, memory and size alone")
    minutes = ", ".join(f"{each.minutes:g} for {each.competition}" for each in COMPARISONS.values())
    parser.add_argument("--minutes", type=float, help=f"of training each (default {minutes})")
    shorter = ", ".join(f"{each.minutes_random:g} for {each.competition}" for each in COMPARISONS.values())
    parser.add_argument("--minutes-random", type=float, help=f"of what begins from random weights (default {shorter})")
    parser.add_argument("--epochs", type=int, help="so many epochs of all images instead of minutes: for a GPU")
    parser.add_argument("--encoder", default="", metavar="NAME", help="one for all systems of TGS that have an encoder")
    parser.add_argument(
        "--weights", default="none", metavar="PATH", help="of encoders, under timm's names: a file, or a folder of them"
    )
    sizes = ", ".join(f"{_sides(each.size)} for {each.competition}" for each in COMPARISONS.values())
    parser.add_argument("--size", type=_size, metavar="SIDE|HEIGHTxWIDTH", help=f"of the input (default {sizes})")
    return parser


def _size(text: str) -> Shape:
    sides = [int(side) for side in text.replace("×", "x").split("x")]
    if len(sides) not in (1, 2):
        raise ValueError
    return sides[0], sides[-1]


def _sides(size: Shape) -> str:
    return "×".join(map(str, size))


def prepare(folder: Path) -> None:
    """A working folder whose runs are no one's submission: configs, data and folds are those beside it."""
    folder.mkdir(exist_ok=True)
    for name in ("configs", "data", "folds"):
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(Path("..") / name, target_is_directory=True)


def probed(compared: Comparison, system: System, size: Shape) -> dict[str, Any]:
    """What ``benchmarks.zoo.probe`` finds, from the file of an earlier call if there is one."""
    path = WORK / f"{compared.key(system, size)}.json"
    if not path.exists():
        print(f"measuring {system.name} …", flush=True)
        command = [sys.executable, "-m", "benchmarks.zoo.probe", str(system.path)]
        command += compared.settings(system, size, ENDLESS)
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        write_json(path, json.loads(done.stdout.splitlines()[-1]))
    found: dict[str, Any] = read_json(path)
    return found


def train(
    compared: Comparison, system: System, probe: dict[str, Any], size: Shape, options: argparse.Namespace
) -> None:
    """Train a system to its end, or go on with it, through segfold's own command.

    Args:
        probe: whose speed says how many images it sees.
    """
    if options.epochs:
        images = ["sample.images=null"]
    else:
        minutes = _minutes(compared, options)[0 if system.pretrained else 1]
        steps = max(round(60 * minutes * probe["images_per_second"] / compared.batch), 1)
        images = [f"sample.images={steps * compared.batch}"]
    overrides = [*compared.settings(system, size, compared.batch, options.epochs or 1), *images]
    command = [sys.executable, "-m", "segfold", "train", "--config", str(system.path)]
    command += ["--fold", str(FOLD), "--run", compared.key(system, size), *overrides]
    subprocess.run(command, check=True, cwd=WORK)


def _minutes(compared: Comparison, options: argparse.Namespace) -> tuple[float, float]:
    """Of training from weights, and from random ones."""
    return options.minutes or compared.minutes, options.minutes_random or options.minutes or compared.minutes_random


def record(compared: Comparison, system: System, default: System, probe: dict[str, Any], size: Shape) -> table.Record:
    """A row of the table, without a score where it is not trained.

    Args:
        default: what it is compared with image by image, where that has been trained.
    """
    kind = {"ablation": system.ablation, "pretrained": system.pretrained}
    path = _done(compared.key(system, size))
    if not path.exists():
        return {"name": system.name, **kind, **probe}
    done = read_json(path)
    scores = {name: done[name] for name in ("score", "standard_error", "samples", "seconds")}
    key, other = (compared.key(each, size) for each in (system, default))
    if key != other and _done(other).exists():
        mine, others = (image_scores(WORK, name, FOLD) for name in (key, other))
        scores["against"], scores["against_error"] = (round(value, 6) for value in difference(mine, others))
    return {"name": system.name, **kind, **scores, **probe}


def report(
    compared: Comparison, records: list[table.Record], size: Shape, wanted: int, options: argparse.Namespace
) -> None:
    """Print the rows, and write them where all are wanted or they are to join the others."""
    minutes, from_random = _minutes(compared, options)
    length = f"{options.epochs} epochs" if options.epochs else f"{minutes:g} minutes"
    if not options.epochs and from_random != minutes:
        length += f" ({from_random:g} from random weights)"
    which = "" if len(records) == wanted else f", {len(records)} of {wanted} systems"
    started = options.encoder or "as named"
    length += ", from random weights" if options.weights == "none" else f", encoders {started} from weights"
    title = f"{length}, {_sides(size)}, fold {FOLD}{which}; {machine()}, commit {commit()}"
    table.show(records, compared.default, title, Console(width=max(Console().width, WIDTH)))
    if (options.only or options.probe) and not options.join:
        return
    where = {"length": length, "machine": machine(), "commit": commit()}
    found = [{**each, **where} for each in records]
    if options.join and compared.results.exists():
        names = {each["name"] for each in found}
        found = [*(each for each in read_json(compared.results) if each["name"] not in names), *found]
    write_json(compared.results, found)
    document.put_into(DOCUMENT, compared.command, table.markdown(found, compared.default))
    print(f"{compared.results} and {DOCUMENT} written")


def _done(key: str) -> Path:
    return WORK / "runs" / key / f"fold{FOLD}" / "done.json"


if __name__ == "__main__":
    sys.exit(main())
