"""Measure all figures, or one, against their peers: ``python -m benchmarks [--only NAME] [--quick]``.

``BENCH_SCALE`` in the environment, above 0 and at most 1, makes large images smaller: ``make bench`` sets 0.5, ``make
bench-full`` 1.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import document, results
from benchmarks.measure import Effort, commit, machine
from benchmarks.suite import BENCHMARKS, benchmark_of, measure, row_names

RESULTS = Path(__file__).parent / "results.json"
README = Path(__file__).parents[1] / "README.md"
COMMAND = "make bench"
SCALE = "BENCH_SCALE"
WIDTH = 110
"""Least width of the table, for output that goes to a file."""


def main(arguments: Sequence[str] | None = None, path: Path = RESULTS, readme: Path = README) -> int:
    """Measure, print, and write ``path`` and the table in ``readme``; returns 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}, or the name of a row")
    parser.add_argument("--quick", action="store_true", help="only show that they run; nothing is written")
    options = parser.parse_args(arguments)
    names = list(BENCHMARKS)
    if options.only is not None:
        chosen = benchmark_of(options.only)
        if chosen is None:
            near = difflib.get_close_matches(options.only, [*BENCHMARKS, *row_names()], n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(BENCHMARKS)}"
            parser.error(f"--only {options.only}: {hint}")
        names = [chosen]
    rows, failed = measure(names, Effort(options.quick, scale(parser)))
    where, code = machine(), commit()
    if rows:
        title = "quick run: these figures mean nothing" if options.quick else f"{where}, commit {code}"
        results.show(rows, title, Console(width=max(Console().width, WIDTH)))
    if rows and not options.quick:
        kept = results.read(path) if options.only is not None else []
        found = results.merged(kept, results.records(rows, where, code), row_names())
        results.write(path, found)
        document.put_into(readme, COMMAND, results.markdown(found))
        print(f"{path}: {len(rows)} rows written, and the table in {readme}")
    for name, reason in failed.items():
        print(f"{name} was not measured: {reason}", file=sys.stderr)
    return 1 if failed else 0


def scale(parser: argparse.ArgumentParser) -> float:
    """What ``BENCH_SCALE`` says."""
    text = os.environ.get(SCALE) or "1"
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 1:
        parser.error(f"{SCALE} is {text!r}: expected a number above 0 and at most 1")
    return found


if __name__ == "__main__":
    sys.exit(main())
