"""An empty page with the explorer's scripts, and masks for it that no part of the board has packed."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

import segfold.board

APP = Path(segfold.board.__file__).parent / "app"


def empty_page(browser: Any) -> Any:
    """A page of a browser of playwright in which the explorer's functions can be evaluated."""
    opened = browser.new_page()
    for name in (
        "core.js",
        "format.js",
        "keys.js",
        "masks.js",
        *sorted(path.name for path in APP.glob("explorer*.js")),
    ):
        opened.add_script_tag(path=str(APP / name))
    return opened


def runs(masks: list[np.ndarray], alternate: bool = False) -> dict:
    """Masks as run lengths, by a way of its own."""
    counts, lengths, values = [], [], []
    for mask in masks:
        found = [(int(value), len(list(group))) for value, group in itertools.groupby(mask.ravel())]
        if alternate and found[0][0] == 1:
            found.insert(0, (0, 0))
        counts.append(len(found))
        lengths += [length for _, length in found]
        values += [value for value, _ in found]
    return {
        "height": [mask.shape[0] for mask in masks],
        "width": [mask.shape[1] for mask in masks],
        "step": 1,
        "counts": counts,
        "lengths": lengths,
        "values": None if alternate else values,
    }


def drawn(random: np.random.Generator, shape: tuple[int, int], values: int) -> np.ndarray:
    """A mask in blocks, so that it has runs of every length."""
    blocks = random.integers(0, values, (-(-shape[0] // 3), -(-shape[1] // 3)))
    return np.kron(blocks, np.ones((3, 3), int))[: shape[0], : shape[1]].astype(np.uint16)
