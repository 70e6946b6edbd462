"""Honest estimates of what was chosen on the images that it is scored on.

A choice scored on the images that it was made on flatters itself. The nested estimate makes the choice on the other
parts and scores it on each part in turn: no image is scored by a choice that saw it. (Cawley and Talbot, On
over-fitting in model selection, JMLR 2010.)
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

PIECES = 5
"""Parts that images of fewer than three folds are cut into."""

Part = TypeVar("Part")
Choice = TypeVar("Choice")
Score = TypeVar("Score")


def nested(
    fit: Callable[[Sequence[Part]], Choice], score: Callable[[Choice, Part], Score], parts: Sequence[Part]
) -> list[Score]:
    """The score of each part by what was fitted on the others.

    Args:
        fit: makes a choice from some parts; whatever is fixed by hand is fixed in it.
        score: of a choice on one part.
        parts: two or more.

    Raises:
        ValueError: fewer than two parts, of which none could be scored by a choice that did not see it.

    Example:
        >>> from statistics import mean
        >>> nested(lambda others: mean(map(mean, others)), lambda choice, part: choice - mean(part), [[1, 3], [5], [9]])
        [5, 0.5, -5.5]
    """
    if len(parts) < 2:
        raise ValueError(f"{len(parts)} parts: expected two or more")
    return [score(fit([*parts[:i], *parts[i + 1 :]]), part) for i, part in enumerate(parts)]


def parts_of(ids: Sequence[str], folds: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], str]:
    """The part of the nested estimate that each image belongs to, and what the parts are, for people.

    The parts are the folds. Of fewer than three folds the ids are cut into five parts by a hash, which no order of the
    images can change.

    Args:
        ids: (N,) ids.
        folds: (N,) fold of each.

    Returns:
        (N,) numbers from 0, all 0 of too few images, and a text.
    """
    by_fold = np.unique(np.asarray(folds, np.int64), return_inverse=True)[1].reshape(-1)
    count = int(by_fold.max()) + 1
    if count > 2:
        return by_fold, f"{count} folds"
    digests = (hashlib.sha256(image_id.encode()).digest() for image_id in ids)
    cut = [int.from_bytes(digest[:4], "big") % PIECES for digest in digests]
    part = np.unique(np.array(cut, np.int64), return_inverse=True)[1]
    part, found = part.reshape(-1), int(part.max()) + 1
    if found < 2:
        return part, "too few images"
    return part, f"{found} parts of {'one fold' if count == 1 else '2 folds'}"
