"""How run lengths are numbered: what mask files say, or, without them, which way gives whole shapes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np

from segfold.layouts.rle import Order, decode, problem, runs_of

MOST_PIXELS = 60_000_000  # decoded for one answer, in all ways


class Example(NamedTuple):
    """An image with its rows of run lengths.

    Attributes:
        name: its id.
        texts: its rows, those with runs.
        shape: height and width.
        mask: H×W bool, by its mask files; None without them.
    """

    name: str
    texts: list[str]
    shape: tuple[int, int]
    mask: np.ndarray | None = None


@dataclass
class Way:
    """One way to read run lengths, and how well it fits.

    Attributes:
        order: of pixels.
        relative: whether starts count from the run before.
        broken: a line on the first image whose runs it cannot read; empty if there is none.
        same: images whose mask files it equals.
        edges: pixels at which masks begin or end, along both axes.
    """

    order: Order
    relative: bool
    broken: str = ""
    same: int = 0
    edges: int = 0


@dataclass
class Fit:
    """The way that fits best, and a comment that says why.

    Attributes:
        way: None where no way can read the runs.
        sure: whether another way would be worse.
        comment: one line.
    """

    way: Way | None
    sure: bool
    comment: str


def best_fit(examples: Iterable[Example]) -> Fit:
    """Tries both orders, absolute and relative."""
    ways = [Way(order, relative) for relative in (False, True) for order in get_args(Order)]
    used = pixels = filed = 0
    for example in examples:
        pixels += example.shape[0] * example.shape[1]
        if used and pixels * len(ways) > MOST_PIXELS:
            break
        used += 1
        filed += example.mask is not None
        for way in ways:
            _try(way, example)
    whole = [way for way in ways if not way.broken]
    if not whole:
        return Fit(None, False, f"no way of reading the run lengths fits: {ways[0].broken}")
    if filed:
        best = max(whole, key=lambda way: way.same)
        others = max((way.same for way in whole if way is not best), default=0)
        if best.same > 0:
            sure = best.same > others or len(whole) == 1
            return Fit(best, sure, f"{best.same} of {filed} mask files are just what the table says, read so")
    best = min(whole, key=lambda way: way.edges)
    rest = [way for way in whole if way is not best]
    if not rest:
        return Fit(best, True, "the only way to read all of the runs that were tried")
    second = min(rest, key=lambda way: way.edges)
    said = f"masks of {used} images have {best.edges:,} pixels of edge read so, {second.edges:,} read {_said(second)}"
    return Fit(best, best.edges < 0.95 * second.edges, said)


def _said(way: Way) -> str:
    return f"{'down columns' if way.order == 'column' else 'along rows'}{', relative' if way.relative else ''}"


def _try(way: Way, example: Example) -> None:
    if way.broken:
        return
    for text in example.texts:
        if fault := problem(text, example.shape, way.relative):
            way.broken = f"{example.name}: {fault}"
            return
        way.edges += edges(runs_of(text, way.relative), example.shape, way.order)
    if example.mask is not None and example.mask.shape == example.shape:
        union = np.zeros(example.shape, bool)
        for text in example.texts:
            union |= decode(text, example.shape, way.order, way.relative) > 0
        way.same += bool(np.array_equal(union, example.mask))


def edges(runs: np.ndarray, shape: tuple[int, int], order: Order) -> int:
    """How many neighbours, along both axes, differ in a mask; of images of any size, whose pixels are not looked at.

    Args:
        runs: n×2, sorted: the first pixel of each run, counted from 0, and the first one after it.
    """
    pixels, line = shape[0] * shape[1], shape[0] if order == "column" else shape[1]
    starts, ends = runs[~np.isin(runs[:, 0], runs[:, 1]), 0], runs[~np.isin(runs[:, 1], runs[:, 0]), 1]
    along = int((starts % line != 0).sum() + (ends % line != 0).sum())
    before = np.concatenate([[0], (ends - starts).cumsum()])

    def inside(places: np.ndarray) -> np.ndarray:
        """How many pixels of the mask lie before each place."""
        after = np.searchsorted(starts, places, side="right")  # runs that begin at it or before
        last = np.maximum(after - 1, 0)
        beyond = np.where(after > 0, np.maximum(ends[last] - places, 0), 0) if len(ends) else 0
        return before[after] - beyond

    # Of two neighbouring lines the one is the other moved by a line.
    both = int((inside(np.minimum(ends + line, pixels)) - inside(np.minimum(starts + line, pixels))).sum())
    low, high = inside(np.array([line, pixels - line]))
    return along + int(before[-1] - low) + int(high) - 2 * both
