"""How run lengths are numbered: what mask files say, or, without them, which way gives whole shapes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np

from segfold.layouts.rle import Order, RleError, decode, problem

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
    planes = []
    for text in example.texts:
        if fault := problem(text, example.shape, way.relative):
            way.broken = f"{example.name}: {fault}"
            return
        try:
            planes.append(decode(text, example.shape, way.order, way.relative))
        except RleError as error:  # said above already
            way.broken = f"{example.name}: {error}"
            return
    for plane in planes:
        way.edges += int((plane[1:] != plane[:-1]).sum()) + int((plane[:, 1:] != plane[:, :-1]).sum())
    if example.mask is not None and example.mask.shape == example.shape:
        union = np.any(planes, axis=0) if planes else np.zeros(example.shape, bool)
        way.same += bool(np.array_equal(union, example.mask))
