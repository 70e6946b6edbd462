"""The benchmarks by name, each run in a process of its own."""

import importlib
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.measure import Benchmark, Effort, Row

BENCHMARKS: dict[str, tuple[str, ...]] = {
    "training": ("training", "training-default"),
    "overhead": ("overhead",),
    "lovasz": ("lovasz", "lovasz-batch", "lovasz-gpu"),
    "borders": ("borders",),
    "rle": ("rle-encode-101", "rle-decode-101", "rle-encode-1024", "rle-decode-1024"),
    "metric": ("metric",),
    "ensembling": ("ensembling", "ensembling-speed", "ensembling-memory", "ensembling-growth"),
    "greedy_selection": ("greedy-selection",),
    "board": ("board-build", "board-fold", "board-size", "board-paint"),
    "crf": ("crf-limit", "crf-101", "crf-500"),
    "prediction": ("prediction", "prediction-default"),
    "memory": ("memory", "memory-growth"),
    "tiles": ("tiles", "tiles-cache"),
    "tile_speed": ("tiles-network",),
    "overlap_tiles": ("overlap-tiles",),
    "boxes": ("boxes-forward", "boxes-loop"),
    "crops": ("crops",),
    "attention": ("attention", "attention-memory"),
    "hypercolumn": ("hypercolumn", "hypercolumn-memory"),
    "proposals": ("proposals", "proposals-kept"),
    "gcn_block": ("gcn-block", "gcn-block-memory"),
}
"""Modules of this package, each with the rows that its ``rows`` makes where the machine can."""


class CannotMeasureError(Exception):
    """This machine lacks what a benchmark needs, such as a peer's package."""


def row_names() -> list[str]:
    """The names of all rows, in the order of the table."""
    return [row for made in BENCHMARKS.values() for row in made]


def benchmark_of(name: str) -> str | None:
    """The benchmark of that name, or the one that makes the row of that name."""
    for benchmark, made in BENCHMARKS.items():
        if name == benchmark or name in made:
            return benchmark
    return None


def measure(names: Sequence[str], effort: Effort) -> tuple[list[Row], dict[str, str]]:
    """The rows of benchmarks, and why some could not be measured, by name."""
    rows: list[Row] = []
    failed: dict[str, str] = {}
    # A fresh process each: none inherits another's threads, compiled code or memory. Spawned, because a fork of a
    # process that has used torch's threads may hang.
    spawn = multiprocessing.get_context("spawn")
    for name in names:
        began = time.monotonic()
        print(f"{name} …", flush=True)
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            try:
                rows += pool.submit(run, name, effort).result()
            except CannotMeasureError as error:
                failed[name] = str(error)
            except Exception as error:
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return rows, failed


def run(name: str, effort: Effort) -> list[Row]:
    """The rows of one benchmark, measured in this process.

    Raises:
        CannotMeasureError: its peer is not installed.
    """
    try:
        rows: Benchmark = importlib.import_module(f"benchmarks.{name}").rows
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("benchmarks", "segfold"):
            raise
        raise CannotMeasureError(f"no package {error.name}; pip install -r requirements-bench.txt") from None
    with tempfile.TemporaryDirectory(prefix="segfold-bench-") as folder:
        return list(rows(effort, Path(folder)))
