"""Pictures of the board, of made-up runs: ``python -m benchmarks.board_pictures`` makes the two of the README.

``--all FOLDER`` makes those of every part, light and dark, wide and narrow, to look at.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np

from benchmarks.board_runs import plain_name
from benchmarks.board_week import make_week
from benchmarks.chromium import NARROW, WIDE, launched
from segfold.board.build import build_board

DOCS = Path(__file__).parents[1] / "docs"
RUNS, IMAGES, TEST = 9, 240, 60
BEST, OTHER = plain_name(7), plain_name(5)
PAGES = {
    "runs": ("board.html", {"competition": "salt"}),
    "curves": ("board.html", {"competition": "salt", "tab": "curves", "runs": f"{BEST}\n{OTHER}"}),
    "images": ("board.html", {"competition": "salt", "tab": "images", "runs": f"{BEST}\n{OTHER}"}),
    "leaderboard": ("board.html", {"competition": "salt", "tab": "leaderboard"}),
    "data": ("board.html", {"competition": "salt", "tab": "data"}),
    "report": (f"{BEST}/report.html", {}),
}
"""The page of each picture, below ``runs/``, and what stands behind the # of its address."""
README = {"board.webp": ("runs", "light"), "explorer.webp": ("images", "dark")}
"""Files in ``docs/``, and what they show."""
_READY = """() => {
  const far = each => each.getBoundingClientRect().top > innerHeight + 400;
  return !document.querySelector("[aria-busy=true]")
    && [...document.images].every(each => each.complete || each.loading === "lazy")
    && [...document.querySelectorAll(".plot")].every(each => each.dataset.ready || far(each));
}"""


@contextmanager
def week() -> Iterator[Path]:
    """A working folder with a board, which goes afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "salt-week"
        make_week(home, RUNS, IMAGES, TEST, names=plain_name)
        build_board(home)
        yield home


def telling(home: Path) -> str:
    """The id of an image with something to see: a mask of middling size that the run got neither right nor wrong."""
    found = []
    for path in sorted((home / "runs" / OTHER).glob("fold*/scores.csv")):
        with path.open(newline="") as file:
            found += [(abs(float(row["iou"]) - 0.85), row["id"]) for row in csv.DictReader(file) if _middling(row)]
    return min(found)[1]


def _middling(row: dict[str, str]) -> bool:
    return 2500 < int(row["true_area"]) < 6000


def picture(browser: Any, home: Path, name: str, theme: str, width: int) -> np.ndarray:
    """H×W×3 of a page's first window, as a screen of one pixel a pixel shows it."""
    file, state = PAGES[name]
    window = {"width": width, "height": 800 if width == WIDE else 844}
    context = browser.new_context(viewport=window, color_scheme=theme, offline=True, reduced_motion="reduce")
    page = context.new_page()
    if name == "images":
        state = {**state, "image": telling(home)}
    page.goto(f"{(home / 'runs' / file).resolve().as_uri()}#{urlencode(state)}")
    page.wait_for_selector("#panel section[data-tab]")
    if name == "images":
        page.wait_for_selector("#explorer:not([data-reading]) figure canvas[data-image]")
    page.wait_for_function(_READY)
    page.wait_for_timeout(500)
    data = np.frombuffer(page.screenshot(), np.uint8)
    context.close()
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def save(path: Path, pixels: np.ndarray) -> None:
    """As WebP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 88])[1].tobytes())
    print(f"{path}: {pixels.shape[1]} × {pixels.shape[0]}, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.board_pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every part, light and dark, wide and narrow")
    options = parser.parse_args()
    with week() as home, launched() as browser:
        if options.all is None:
            for file, (name, theme) in README.items():
                save(DOCS / file, picture(browser, home, name, theme, WIDE))
            return
        for name in PAGES:
            for theme in ("light", "dark"):
                for width in (WIDE, NARROW):
                    save(options.all / f"{name}-{theme}-{width}.webp", picture(browser, home, name, theme, width))


if __name__ == "__main__":
    main()
