"""Where two systems differ: their scores on groups of images, such as those of a coverage class or a depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.metrics import Metric
from segfold.statistics.bootstrap import Paired, paired
from segfold.tasks.strata import coverage_class

_DRAWS = 2_000  # of a group: only its standard error is shown


@dataclass(frozen=True)
class Group:
    """A group of images and what two systems score on them.

    Attributes:
        name: of the group, for people.
        found: scores of both systems on these images alone.
        adds: by how much the score of all images changes where system B takes the place of A on these images alone. Of a
            mean over images the groups add up to the whole difference.
    """

    name: str
    found: Paired
    adds: float


def by_group(
    names: Sequence[str],
    number: npt.NDArray[Any],
    a: npt.NDArray[Any],
    b: npt.NDArray[Any],
    metric: Metric,
    together: npt.NDArray[Any] | None = None,
) -> list[Group]:
    """The groups that have images, in order.

    Args:
        names: of the groups.
        number: (N,) index in ``names`` of each image's group.
        a: (N, K) features of system A.
        b: the same of system B.
        together: (N,) names of what is drawn together, ``groups`` of ``paired``.
    """
    whole = a.sum(axis=0)
    score = float(metric.value(whole, len(a)))
    found = []
    for index, name in enumerate(names):
        inside = number == index
        if not inside.any():
            continue
        changed = whole + (b[inside] - a[inside]).sum(axis=0)
        adds = float(metric.value(changed, len(a))) - score
        drawn = None if together is None else together[inside]
        found.append(Group(name, paired(a[inside], b[inside], metric, _DRAWS, groups=drawn), adds))
    return found


def coverage_groups(coverage: npt.NDArray[Any]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of the coverage classes, and the class of each image.

    Args:
        coverage: (N,) share of pixels that are foreground, 0…1.
    """
    names = ["empty", *(f"{10 * number} to {10 * number + 10} %" for number in range(10))]
    return names, coverage_class(coverage)


def number_groups(values: npt.NDArray[Any], most: int = 5) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of up to ``most`` ranges that hold about as many images each, and the range of each image.

    Equal numbers are in one range, so there are fewer ranges where few numbers differ.

    Args:
        values: (N,) numbers of the images.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    # The first number of each range, which is one that an image has.
    firsts = np.unique(ordered[[len(ordered) * part // most for part in range(most)]])
    number = np.searchsorted(firsts, values, side="right") - 1
    names = []
    for index in range(len(firsts)):
        inside = np.asarray(values)[number == index]
        low, high = f"{inside.min():g}", f"{inside.max():g}"
        names.append(low if low == high else f"{low} to {high}")
    return names, number.astype(np.int64)
