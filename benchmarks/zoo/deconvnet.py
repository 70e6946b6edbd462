"""DeconvNet's whole road, scored after each part: ``python -m benchmarks.zoo.deconvnet [--only SET] [SETTING=VALUE …]``.

On CamVid: both stages by whole images and by proposals, an FCN, their mean and their product (EDeconvNet), and a CRF after
each. On ``scales``, a made set: proposals against whole images by the same weights. All is done by segfold's own verbs
in ``zoo/``, where what is done stays: stopped, the same command goes on. What trains keeps to one core with
``machine.threads=1 machine.workers=0``, what predicts with ``taskset -c 0`` before the command.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import document
from benchmarks.measure import commit, machine
from benchmarks.zoo import scales
from benchmarks.zoo.__main__ import DOCUMENT, WORK, prepare
from benchmarks.zoo.camvid import LITE0
from benchmarks.zoo.probe import floor
from benchmarks.zoo.roads import FCN, ROADS, WHOLE, Road, record, side_of, whole_of
from benchmarks.zoo.systems import CONFIGS, Start
from benchmarks.zoo.twins import twin
from segfold.cli.progress import Progress
from segfold.comparison.side import Side
from segfold.errors import SegfoldError
from segfold.files import read_json, write_json
from segfold.paths import user_path
from segfold.runs.folder import run_folder

FOLD = 0
COLUMNS = ("prediction", "mIoU", "against", "difference", "95 %", "probability", "s an image")
Record = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not trained yet, score all predictions, print the table, and write results and document."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.size is not None and (options.size % 32 or options.size < 64):
        parser.error(f"--size {options.size}: expected a multiple of 32 from 64 on")
    for road in (ROADS[name] for name in ([options.only] if options.only else ROADS)):
        run = options.name or f"{road.name}-deconvnet"
        try:
            made = go(road, run, options)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            return 130
        except subprocess.CalledProcessError as error:
            print(f"{' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
            return 2 if error.returncode > 0 else 128 - error.returncode
        except SegfoldError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        report(road, made, written=options.name is None)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo.deconvnet", description=__doc__)
    parser.add_argument("--only", choices=list(ROADS), help="one set (default: all)")
    parser.add_argument(
        "--weights", default="none", metavar="PATH", help=f"of {LITE0}, on which the FCN stands: a file, or its folder"
    )
    parser.add_argument("--size", type=int, metavar="SIDE", help="of DeconvNet's input, a multiple of 32")
    parser.add_argument("--images", type=int, metavar="N", help="that both stages of DeconvNet see together")
    parser.add_argument(
        "--name", metavar="RUN", help="of DeconvNet's run, for a trial with other settings; nothing is written then"
    )
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING=VALUE", help="of DeconvNet's config; machine.… holds for the FCN too"
    )
    return parser


def go(road: Road, run: str, options: argparse.Namespace) -> Record:
    """All of one set's road, in its folder.

    Returns:
        ``rows`` as ``roads.record`` gives them; ``floor``, the score of saying the commonest class everywhere; ``runs``, what
        each training saw and took.
    """
    weights = options.weights if options.weights == "none" else str(user_path(options.weights).absolute())
    prepare(WORK)
    home = WORK / road.folder
    home.mkdir(exist_ok=True)
    with contextlib.chdir(home):
        bring(road)
        if road.fcn:
            own = [text for text in options.settings if text.startswith("machine.")]
            if start := Start(weights=weights).of(LITE0):
                train(FCN, CONFIGS / f"{FCN}.yaml", [f"model.weights={start}", *own])
            elif not run_folder(Path(), FCN).fold(FOLD).finished:
                print(f"without an FCN: no weights of {LITE0}; give their file, or its folder, by weights=PATH")
        train(run, road.config, [*road.settings(options.size, options.images), *options.settings])
        twin(run_folder(Path(), run), whole_of(run), WHOLE)
        rows, last = scored(road, run)
        names = [run, *([FCN] if road.fcn and run_folder(Path(), FCN).fold(FOLD).finished else [])]
        return {
            "rows": rows,
            "floor": None if last is None else floor_of(last),
            "runs": {name: trained(name) for name in names},
        }


def bring(road: Road) -> None:
    """The data of a set, by segfold's own verb where it is not there yet: the made one is made.

    Raises:
        SegfoldError: it is none that can be made.
    """
    if (Path("data") / road.name).exists():
        return
    if road.competition is None:
        raise SegfoldError(f"no data/{road.name}: make data competition={road.name} from=PATH first")
    made = Path("made")
    if not made.exists():
        print(f"making {made.absolute()} …", flush=True)
        scales.generate(made)
    segfold("data", "--competition", road.competition, "--from", made)


def train(run: str, config: Path, overrides: Sequence[str]) -> None:
    """Train fold 0 of a run to its end, or go on with it."""
    print(f"training {run}", flush=True)
    segfold("train", "--config", config, "--fold", FOLD, "--run", run, *overrides)


def segfold(*words: Any) -> None:
    """One of segfold's verbs, in a process of its own."""
    subprocess.run([sys.executable, "-m", "segfold", *map(str, words)], check=True)


def scored(road: Road, run: str) -> tuple[list[Record], Side | None]:
    """The rows that there is all for, and the last one's side; a line says what is left out."""
    sides: dict[str, Side] = {}
    found = []
    with Progress() as progress:
        for row in road.rows(run):
            progress.say(f"scoring {row.name}")
            try:
                side = sides[row.name] = side_of(row, progress)
            except SegfoldError as error:
                progress.say(f"left out {row.name}: {error}")
                continue
            found.append(record(row, side, sides.get(row.against)))
    return found, next(reversed(sides.values()), None)


def floor_of(side: Side) -> float:
    """The score of saying the commonest class of every pixel, on the images of a side."""
    train, metric = side.gathered.train, side.gathered.competition.scorer
    return round(floor(train, np.asarray(train.position(side.ids)), metric), 6)


def trained(run: str) -> Record:
    """What a finished run has seen, and what it took."""
    done = read_json(run_folder(Path(), run).fold(FOLD).done)
    return {name: done[name] for name in ("samples", "steps", "seconds") if name in done}


def report(road: Road, made: Record, written: bool = True) -> None:
    """Print a set's rows, and write them to its file and into the document."""
    cells = [cells_of(row) for row in made["rows"]]
    table = Table(title=f"{road.name}, {machine()}, commit {commit()}", title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number in (0, 2) else "right", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    Console(width=max(Console().width, 150)).print(table)
    if not written:
        return
    write_json(road.results, {**made, "machine": machine(), "commit": commit()})
    document.put_into(DOCUMENT, road.command, document.markdown(COLUMNS, cells))
    print(f"{road.results} and {DOCUMENT} written")


def cells_of(row: Record) -> tuple[str, ...]:
    """A row's texts, in the order of ``COLUMNS``."""
    error, seconds = row["standard_error"], row["seconds_an_image"]
    against = ("", "", "", "")
    if "against" in row:
        against = (
            row["against"],
            f"{row['difference']:+.3f} ± {row['difference_error']:.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
            f"{row['probability']:.3f}",
        )
    score = f"{row['score']:.3f}" + ("" if error is None else f" ± {error:.3f}")
    return (row["name"], score, *against, "" if seconds is None else f"{seconds:.2f}")


if __name__ == "__main__":
    sys.exit(main())
