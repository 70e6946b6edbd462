"""Which predicted objects match true ones, at every threshold and smallest component, in one pass over an image.

Lowering the threshold only adds pixels, and pixels only join components, so a union-find over the pixels by falling code
knows the components at every threshold on the way. A true object matches, if any, the component that has more than half
of its pixels: a majority vote among them finds it without a table of components by objects.
"""

from typing import Any

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def find_root(parent: Any, pixel: Any) -> Any:
    """The root of a pixel's component in a union-find, whose paths are halved on the way."""
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel


@numba.njit(nogil=True, cache=True)
def _by_level(levels: Any, chosen: Any, count: int) -> Any:
    """The chosen pixels by rising level, and where those of each level begin."""
    starts = np.zeros(count + 2, np.int64)
    for pixel in range(levels.size):
        if chosen[pixel]:
            starts[levels[pixel] + 1] += 1
    starts = np.cumsum(starts)
    ordered = np.empty(starts[-1], np.int32)
    place = starts.copy()
    for pixel in range(levels.size):
        if chosen[pixel]:
            ordered[place[levels[pixel]]] = pixel
            place[levels[pixel]] += 1
    return ordered, starts


@numba.njit(nogil=True, cache=True)
def _join(pixel: int, height: int, width: int, parent: Any, area: Any, inside: Any, class_of: Any, held: Any) -> None:
    """Makes a pixel foreground and one component with its neighbours; ``held`` counts the components of each class."""
    y, x = pixel // width, pixel % width
    root = pixel
    parent[pixel] = pixel
    area[pixel] = 1
    for ny in range(max(0, y - 1), min(height, y + 2)):
        for nx in range(max(0, x - 1), min(width, x + 2)):
            if parent[ny * width + nx] < 0:
                continue
            other = find_root(parent, ny * width + nx)
            if other == root:
                continue
            held[class_of[area[other]]] -= inside[other] > 0
            if area[other] > area[root]:
                root, other = other, root
            parent[other] = root
            area[root] += area[other]
            inside[root] += inside[other]
    held[class_of[area[root]]] += inside[root] > 0


@numba.njit(nogil=True, cache=True)
def matches(levels: Any, objects: Any, valid: Any, class_of: Any, count: int, classes: int) -> Any:
    """Counts true and predicted objects, and the true ones by how often they are hit.

    Args:
        levels: H×W, how many of the T thresholds a pixel reaches.
        objects: H×W numbers of the true objects; 0 for none, and where pixels are not valid.
        valid: H×W bool; areas and intersections are of valid pixels, the area that decides on a class is of all.
        class_of: class of a component by its area, for all areas up to the image's; A is never kept.
        count: T.
        classes: A.

    Returns:
        T×A×11 true objects whose component is of the class and whose IoU is greater than just so many of .50, .55, … .95;
        T×A components of the class; how many objects are true.
    """
    height, width = levels.shape
    levels, objects = levels.reshape(-1), objects.reshape(-1)
    ordered, starts = _by_level(levels, np.ones(levels.size, np.bool_), count)
    within, inner_starts = _by_level(levels, objects > 0, count)

    parent = np.full(levels.size, -1, np.int32)  # -1: not foreground yet
    area = np.zeros(levels.size, np.int32)  # of the component, at its root
    inside = valid.reshape(-1).astype(np.int32)  # the valid pixels of it
    held = np.zeros(classes + 1, np.int64)
    most = objects.max() + 1 if objects.size else 1
    object_area, votes, inter = np.zeros(most, np.int64), np.zeros(most, np.int64), np.zeros(most, np.int64)
    leader = np.zeros(most, np.int64)
    for pixel in range(objects.size):
        object_area[objects[pixel]] += 1
    hits = np.zeros((count, classes + 1, 11), np.int64)
    predicted = np.zeros((count, classes), np.int64)
    for level in range(count, 0, -1):
        if level < count and starts[level] == starts[level + 1]:
            hits[level - 1] = hits[level]
            predicted[level - 1] = predicted[level]
            continue
        for position in range(starts[level], starts[level + 1]):
            _join(ordered[position], height, width, parent, area, inside, class_of, held)
        predicted[level - 1] = held[:classes]

        votes[:] = 0
        inter[:] = 0
        for position in range(inner_starts[level], within.size):
            number = objects[within[position]]
            root = find_root(parent, within[position])
            if votes[number] == 0:
                leader[number] = root
            votes[number] += 1 if leader[number] == root else -1
        for position in range(inner_starts[level], within.size):
            number = objects[within[position]]
            inter[number] += leader[number] == find_root(parent, within[position])
        for number in range(1, most):
            if inter[number] == 0:
                continue
            root = leader[number]
            union = inside[root] + object_area[number] - inter[number]
            times = 0
            while times < 10 and 20 * inter[number] > union * (10 + times):
                times += 1
            hits[level - 1, class_of[area[root]], times] += 1
    return hits[:, :classes], predicted, np.count_nonzero(object_area[1:])
