"""The map of gaps between 300 cells, of which U-Net's border weights are made, on one thread."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.measure import Effort, Row, interleave, rate, spread
from benchmarks.peers import transform_an_object
from segfold.losses.gaps import object_gaps

CELLS, SIDE, RADIUS = 300, 512, 12
ROUNDS = 5
TARGET = 20.0


def rows(effort: Effort, folder: Path) -> Sequence[Row]:
    objects = cells(effort.size(CELLS, 20), effort.side(SIDE, 128))
    check(objects)
    things = {"ours": lambda: object_gaps(objects), "peer": lambda: transform_an_object.gaps(objects)}
    times = interleave(things, least=effort.least(ROUNDS), seconds=effort.seconds(2))
    side, count = len(objects), int(objects.max())
    unit = f"maps/s of {count} cells at {side}²"
    return [Row("borders", rate(1, times["ours"]), rate(1, times["peer"]), unit, TARGET, notes=(spread(times),))]


def cells(count: int, side: int) -> np.ndarray:
    """Round cells anywhere, which flatten where they touch: side×side uint16 numbers of objects."""
    centres = np.random.default_rng(0).uniform(0, side, (count, 2))
    pixels = np.indices((side, side)).reshape(2, -1).T
    distance, nearest = cKDTree(centres).query(pixels)
    return np.where(distance < RADIUS, nearest + 1, 0).astype(np.uint16).reshape(side, side)


def check(objects: np.ndarray) -> None:
    """Asserts that both find the same, bit for bit."""
    np.testing.assert_array_equal(object_gaps(objects), transform_an_object.gaps(objects))
