"""The board of 50 runs × 4,000 images of 101²: its first build, the build after one fold has changed, its size, its first paint."""

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.board_runs import Eye, Made, experiment_of, finish, fold_job, made_competition, make_runs
from benchmarks.board_week import note_submissions
from benchmarks.chromium import WIDE, NoBrowserError, launched
from benchmarks.measure import Effort, Row, timed
from benchmarks.suite import CannotMeasureError
from segfold import road
from segfold.board.build import Built, build_board
from segfold.demo.seismic import SIDE
from segfold.disk import size_text
from segfold.runs.folder import RunFolder
from segfold.submission.blended import SubmissionOptions

RUNS, IMAGES, TEST = 50, 4_000, 600
MEMBERS = 4
"""Runs of the ensemble that is submitted: of its test images the most disputed are shown."""
LIMIT_MB, LIMIT_SECONDS, LIMIT_PAINT = 60.0, 10.0, 2.0
_ROUNDS = 5
# When the last row of the table has been painted, in milliseconds from the beginning of the navigation.
_PAINTED = """rows => new Promise(done => {
  const look = () => document.querySelectorAll("#runs tr[data-run]").length < rows ? requestAnimationFrame(look)
    : requestAnimationFrame(() => setTimeout(() => done(performance.now())));
  look();
})"""


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    runs = effort.size(RUNS, 5)
    images, test = (effort.size(int(count * effort.scale), least) for count, least in ((IMAGES, 40), (TEST, 8)))
    need, free = (runs * images + MEMBERS * 5 * test) * SIDE**2 * 2 * 1.1, shutil.disk_usage(folder).free
    print(f"board: {size_text(need)} of disk below {folder}, {size_text(free)} are free", flush=True)
    if need > free:
        raise CannotMeasureError(f"{size_text(need)} of disk needed below {folder}, {size_text(free)} are free")
    made = made_competition(folder, "salt", images, test)
    found = make_runs(made, runs, MEMBERS)
    options = SubmissionOptions(name="four", weights="equal", threshold=0.5, steps=(), device="cpu")
    road.submit([run.path for run in found[:MEMBERS]], options, folder)
    note_submissions(made, found, 30)
    read = timed(lambda: read_all(found))
    built: list[Built] = []
    first = timed(lambda: built.append(build_board(folder)))
    again = statistics.median([changed_fold(made, found, 7 % runs, times) for times in range(effort.least(3))])
    size, share = f"{runs} runs × {images:,} images", images / IMAGES
    made_rows = [
        Row("board-build", first, read, f"s: board of {size}, against reading their predictions once", None),
        Row("board-fold", again, LIMIT_SECONDS * share, f"s after one fold has changed, {size}", 1.0, "lower"),
        Row("board-size", built[0].size / 1e6, LIMIT_MB * share, f"MB, {size}", 1.0, "lower"),
    ]
    try:
        painted, contentful = first_paint(folder / "runs" / "board.html", runs, effort.least(_ROUNDS))
    except NoBrowserError as error:
        print(f"board-paint was not measured: no browser ({error})", flush=True)
        return made_rows
    note = f"the browser's own first paint of anything after {contentful:.2f} s"
    paint = f"s from opening the file to the whole table of runs, {size}"
    return [*made_rows, Row("board-paint", painted, LIMIT_PAINT, paint, 1.0, "lower", (note,))]


def read_all(runs: Sequence[RunFolder]) -> int:
    """Adds up all codes of the out-of-fold predictions."""
    stores = [path for run in runs for path in run.path.glob("fold*/pred/*/oof.u16")]
    return sum(int(np.fromfile(path, "<u2").sum(dtype=np.int64)) for path in stores)


def changed_fold(made: Made, runs: Sequence[RunFolder], number: int, times: int) -> float:
    """Seconds of a build after a fold of run ``number`` was trained anew, each time with another outcome."""
    job = fold_job(made, experiment_of(made, number), runs[number], 1)
    height, width = made.train.images.shapes[0, :2].tolist()
    finish(made, job, Eye(5000 + times, 0.4 + times / 10, (height, width)), number, test=False)
    return timed(lambda: build_board(made.home))


def first_paint(page: Path, runs: int, rounds: int) -> tuple[float, float]:
    """Seconds until the table of so many runs is painted, and until anything is, each the median over fresh windows.

    Raises:
        NoBrowserError: there is none.
    """
    whole, anything = [], []
    with launched() as browser:
        for _ in range(rounds):
            context = browser.new_context(viewport={"width": WIDE, "height": 800}, offline=True)
            opened: Any = context.new_page()
            opened.goto(page.resolve().as_uri())
            whole.append(opened.evaluate(_PAINTED, runs) / 1000)
            entry = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            opened.wait_for_function(f"() => {entry} > 0")
            anything.append(opened.evaluate(entry) / 1000)
            context.close()
    return statistics.median(whole), statistics.median(anything)
