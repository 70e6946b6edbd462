"""What the folds are stratified by."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Strata(NamedTuple):
    """A stratum for each image of a set.

    Attributes:
        numbers: (N,) of each image.
        names: of each number, for people; several numbers may share a name.
    """

    numbers: np.ndarray
    names: dict[int, str]


def coverage_class(coverage: Sequence[float] | np.ndarray) -> np.ndarray:
    """``ceil(10 · coverage)``: 0 for an empty mask, 1 for up to 10 % of the pixels, …, 10."""
    # 0.7 as a quotient of counts may lie just above 0.7.
    return np.ceil(10 * np.asarray(coverage, float) - 1e-9).astype(np.int64)


def coverage_strata(coverage: Sequence[float] | np.ndarray) -> Strata:
    """By coverage class.

    Args:
        coverage: (N,) share of foreground pixels, 0…1.
    """
    names = {number: f"masks that cover {10 * (number - 1)} to {10 * number} %" for number in range(1, 11)}
    return Strata(coverage_class(coverage), {0: "empty masks", **names})


def rarest_class_strata(areas: np.ndarray, pixels: np.ndarray, classes: Sequence[str], left_out: int | None) -> Strata:
    """By the rarest class that is present in an image, and the coverage class of that one.

    Args:
        areas: N×C pixels of each class.
        pixels: (N,) of each image.
        classes: C names.
        left_out: index of a class that is no object: the background.
    """
    areas = np.asarray(areas, np.int64).reshape(len(pixels), len(classes))
    present = areas > 0
    images = present.sum(axis=0).astype(np.int64)
    if left_out is not None:
        present[:, left_out] = False
    # Of equally rare classes the one that the competition names first.
    rarity = np.where(present, images * len(classes) + np.arange(len(classes)), np.iinfo(np.int64).max)
    rarest = rarity.argmin(axis=1)
    covered = np.take_along_axis(areas, rarest[:, None], axis=1)[:, 0] / np.maximum(pixels, 1)
    numbers = np.where(present.any(axis=1), 10 * rarest + coverage_class(covered), 0)
    names = {
        10 * index + number: f"images whose rarest class is {name}"
        for index, name in enumerate(classes)
        for number in range(1, 11)
    }
    return Strata(numbers, {0: "images without any class", **names})
