"""What weights make of the pixels that members decide differently: serial kernels that release the GIL.

The numbers of an image and group of classes lie together: members × planes × pixels. A group is one class with one
plane, or all classes, which exclude each other, with a plane each.
"""

from typing import Any

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def split(codes: Any, least: Any, sure: Any, counted: Any) -> Any:
    """Which pixels of a class some blends of the members hold for foreground and others may not.

    Args:
        codes: members × n.
        least: (members,) code from which a member speaks for foreground: where none does, every blend has background.
        sure: (members,) the same or higher: where all have as much, every blend has foreground.
        counted: (n,) bool; the others are taken for background that nobody disputes.

    Returns:
        (n,) bool of pixels that all hold for foreground, places of disputed pixels.
    """
    members, size = codes.shape
    some, all_ = np.zeros(size, np.bool_), counted.copy()
    for member in range(members):
        for place in range(size):
            some[place] |= codes[member, place] >= least[member]
            all_[place] &= codes[member, place] >= sure[member]
    return all_, np.flatnonzero(some & ~all_ & counted)


@numba.njit(nogil=True, cache=True)
def split_classes(codes: Any, tables: Any, alone: Any, apart: Any, counted: Any) -> Any:
    """Which class every blend gives a pixel, where that is one and the same.

    In each member the class must have no less than each class after it, and more than each class before it: by so much
    that a blend's codes cannot round to the same, of which the first would count.

    Args:
        codes: members × C × n.
        tables: see ``add``.
        alone: members × 65536 codes that each member alone stands for; members × 0 where these are its own.
        apart: (65536,) how far totals of weight 1 must be apart to differ in their codes, from each code on.
        counted: (n,) bool; the others are given to no class, and not disputed.

    Returns:
        (n,) class, -1 of none; places of disputed pixels.
    """
    members, classes, size = codes.shape
    winners = np.full(size, -1, np.int16)
    disputed = np.zeros(size, np.bool_)
    values = np.empty((members, classes), np.int64)
    for place in range(size):
        if not counted[place]:
            continue
        for member in range(members):
            for index in range(classes):
                code = codes[member, index, place]
                values[member, index] = tables[member, code] if tables.shape[1] else code
        best = np.argmax(values[0])
        low = np.int64(apart.size - 1)
        for member in range(members):
            code = codes[member, best, place]
            low = min(low, np.int64(alone[member, code] if alone.shape[1] else code))
        sure = True
        for member in range(members):
            for index in range(classes):
                least = apart[low] if index < best else 0
                sure &= index == best or values[member, best] - values[member, index] >= least
        disputed[place] = not sure
        if sure:
            winners[place] = best
    return winners, np.flatnonzero(disputed)


@numba.njit(nogil=True, cache=True)
def add(numbers: Any, table: Any, weight: Any, total: Any) -> None:
    """Adds a member's values, times a weight; they are the numbers, or what a table has for these."""
    if table.size:
        for place in range(numbers.size):
            total[place] += weight * table[numbers[place]]
    else:
        for place in range(numbers.size):
            total[place] += weight * numbers[place]


@numba.njit(nogil=True, cache=True)
def add_all(block: Any, tables: Any, weights: Any, total: Any) -> None:
    """Sets a total to the weighted values of all members; ``block`` holds those of each, one after the other."""
    total[:] = 0
    size = total.size
    for member in range(weights.size):
        if weights[member]:
            add(block[member * size : (member + 1) * size], tables[member], weights[member], total)


@numba.njit(nogil=True, cache=True)
def direction(block: Any, tables: Any, giver: int, taker: int, change: Any) -> None:
    """Sets to what a total changes by where one unit of weight goes from a giver, or -1 from nobody, to a taker."""
    size = change.size
    gets = block[taker * size : (taker + 1) * size]
    if tables.shape[1]:
        for place in range(size):
            change[place] = tables[taker, gets[place]]
    else:
        change[:] = gets
    if giver >= 0:
        add(block[giver * size : (giver + 1) * size], tables[giver], -1, change)


@numba.njit(nogil=True, cache=True)
def classes_of(total: Any, planes: int, bounds: Any, far: int, found: Any) -> None:
    """The class with the highest code, the first one of equals.

    Args:
        total: of planes one after the other.
        bounds: (65536,) smallest total of each code or more.
        far: totals so far apart or farther differ in their codes.
        found: of as many pixels as a plane has, to be set.
    """
    size = total.size // planes
    for place in range(size):
        best = np.int64(0)
        top = total[place]
        below = top  # the largest total of the classes before the best
        for plane in range(1, planes):
            value = total[plane * size + place]
            if value > top:
                below, best, top = top, np.int64(plane), value
        if best and top - below < far:
            # Two totals may round to one code, and then the first of these classes counts.
            low, high = 0, bounds.size
            while high - low > 1:
                middle = (low + high) // 2
                if bounds[middle] <= top:
                    low = middle
                else:
                    high = middle
            if below >= bounds[low]:
                best = np.int64(0)
                while total[best * size + place] < bounds[low]:
                    best += 1
        found[place] = best


@numba.njit(nogil=True, cache=True)
def count_planes(
    codes: Any,
    starts: Any,
    truth: Any,
    tables: Any,
    rows: Any,
    weights: Any,
    giver: int,
    takers: Any,
    steps: Any,
    bounds: Any,
    found: Any,
) -> None:
    """Counts what is predicted of disputed pixels, and is true, for weights of which some goes from a giver to takers.

    Args:
        codes: of all images and classes.
        starts: where the pixels of each image and class begin, and where they end.
        truth: 1 of a pixel that has the class, else 0.
        tables: members × 65536, or × 0, see ``add``.
        rows: (n,) images.
        weights: (members,) integers.
        giver: -1 for nobody.
        takers: (J,) members.
        steps: (S,) rising units of weight.
        bounds: (C,) smallest total that is foreground.
        found: n × J × S × C × 2, to be set: right, and predicted.
    """
    classes, members = bounds.size, weights.size
    for number in range(rows.size):
        for index in range(classes):
            start, end = starts[rows[number] * classes + index], starts[rows[number] * classes + index + 1]
            true, size, bound = truth[start:end], end - start, bounds[index]
            block = codes[members * start : members * end]
            beyond, change = np.empty(size, np.int64), np.empty(size, np.int64)
            add_all(block, tables, weights, beyond)
            beyond -= bound
            for j in range(takers.size):
                direction(block, tables, giver, takers[j], change)
                _count_line(beyond, change, steps, true, found[number, j, :, index])


@numba.njit(nogil=True, cache=True)
def _count_line(beyond: Any, change: Any, steps: Any, true: Any, found: Any) -> None:
    """Counts where ``beyond`` plus a change times each step is not below 0: S × 2, right and all."""
    area, inter, last = np.int64(0), np.int64(0), steps.size - 1
    found[:] = 0
    if last == 0:
        for place in range(beyond.size):
            hit = np.int64(beyond[place] + steps[0] * change[place] >= 0)
            area += hit
            inter += hit & true[place]
    else:
        for place in range(beyond.size):
            first = beyond[place] + steps[0] * change[place] >= 0
            area += first
            inter += first & true[place]
            # A pixel crosses the bound once; few do.
            if first != (beyond[place] + steps[last] * change[place] >= 0):
                s = 1
                while first == (beyond[place] + steps[s] * change[place] >= 0):
                    s += 1
                more = -1 if first else 1
                found[s, 0] += more * true[place]
                found[s, 1] += more
    found[0, 0], found[0, 1] = inter, area
    for s in range(1, steps.size):
        found[s] += found[s - 1]


@numba.njit(nogil=True, cache=True)
def count_classes(
    codes: Any,
    starts: Any,
    truth: Any,
    tables: Any,
    rows: Any,
    weights: Any,
    giver: int,
    takers: Any,
    steps: Any,
    bounds: Any,
    far: int,
    found: Any,
) -> None:
    """The same of classes that exclude each other; ``truth`` is a pixel's class, ``bounds`` and ``far`` as in ``classes_of``."""
    classes, members = found.shape[3], weights.size
    for number in range(rows.size):
        start, end = starts[rows[number]], starts[rows[number] + 1]
        true, size = truth[start:end], end - start
        block = codes[members * classes * start : members * classes * end]
        total, change = np.empty(classes * size, np.int64), np.empty(classes * size, np.int64)
        moved, decided = np.empty(classes * size, np.int64), np.empty(size, np.uint8)
        add_all(block, tables, weights, total)
        for j in range(takers.size):
            direction(block, tables, giver, takers[j], change)
            for s in range(steps.size):
                found[number, j, s] = 0
                for place in range(total.size):
                    moved[place] = total[place] + steps[s] * change[place]
                classes_of(moved, classes, bounds, far, decided)
                for place in range(size):
                    found[number, j, s, decided[place], 1] += 1
                    found[number, j, s, decided[place], 0] += decided[place] == true[place]
