"""Areas in pixels that are worth a try, whatever the size of the masks."""

import numpy as np

AREAS: tuple[int, ...] = (0, 5, 10, 20, 40, 60, 80, 100)
LARGER_AREAS = 12
"""How many areas are tried above those: their number, and so the memory of the scores, does not grow with the masks."""


def areas_up_to(largest: int) -> list[int]:
    """``AREAS``, and in equal ratios above them up to ``largest`` pixels, rounded down to two digits."""
    return sorted({*AREAS, *even_ratios(AREAS[-1], max(largest, AREAS[-1]), LARGER_AREAS + 1)})


def even_ratios(least: int, most: int, count: int) -> list[int]:
    """At most ``count`` areas from ``least`` to ``most`` in equal ratios, rounded down to two digits."""
    return sorted({_two_digits(int(step)) for step in np.geomspace(least, most, count).round(6)})


def _two_digits(number: int) -> int:
    unit = 10 ** max(len(str(number)) - 2, 0)
    return number // unit * unit
