"""Distances to the two nearest objects against a distance transform an object, bit for bit."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from segfold.losses.gaps import object_gaps


def by_transforms(objects: np.ndarray) -> np.ndarray:
    numbers = [number for number in np.unique(objects) if number]
    if len(numbers) < 2:
        return np.full(objects.shape, np.inf, np.float32)
    nearest = second = np.full(objects.shape, np.inf)
    for number in numbers:
        distance = distance_transform_edt(objects != number)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    return np.where(objects == 0, nearest + second, np.inf).astype(np.float32)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.9])
def test_gaps_are_those_of_a_transform_an_object(share: float) -> None:
    """Sizes from one pixel, thin ones among them, and objects in many parts that touch."""
    g = np.random.default_rng(int(100 * share))
    for _ in range(150):
        shape = g.integers(1, 25, 2)
        objects = g.integers(1, g.integers(2, 12), shape) * (g.random(shape) < share)
        np.testing.assert_array_equal(object_gaps(objects.astype(np.uint16)), by_transforms(objects))


def test_three_hundred_cells() -> None:
    """Each cut where it touches the next: discs drawn over one another."""
    g = np.random.default_rng(0)
    objects = np.zeros((256, 256), np.uint16)
    for number in range(1, 301):
        cv2.circle(objects, tuple(int(v) for v in g.integers(0, 256, 2)), int(g.integers(0, 9)), number, -1)
    assert len(np.unique(objects)) > 200
    np.testing.assert_array_equal(object_gaps(objects), by_transforms(objects))


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (200, 300)])
def test_single_pixels_far_apart(shape: tuple[int, int]) -> None:
    objects = np.zeros(shape, np.int64)
    objects[0, 0], objects[-1, -1] = 7, 2**31 - 1
    np.testing.assert_array_equal(object_gaps(objects), by_transforms(objects))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (9, 14)])
def test_fewer_than_two_objects_have_no_gap(shape: tuple[int, int]) -> None:
    for objects in (np.zeros(shape, np.uint16), np.ones(shape, np.uint16), np.tri(*shape, dtype=np.uint16)):
        gaps = object_gaps(objects)
        assert gaps.shape == shape and gaps.dtype == np.float32 and np.isposinf(gaps).all()


def test_the_map_may_be_read_only_or_a_view() -> None:
    objects = np.zeros((12, 20), np.uint16)
    objects[2, 3], objects[8, 16] = 1, 2
    expected = by_transforms(objects)
    objects.flags.writeable = False
    np.testing.assert_array_equal(object_gaps(objects), expected)
    np.testing.assert_array_equal(object_gaps(np.asfortranarray(objects)), expected)
    np.testing.assert_array_equal(object_gaps(objects[::-1, ::2]), by_transforms(objects[::-1, ::2]))
