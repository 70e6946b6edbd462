"""The affine step: albumentations' own, and each of its settings measured on masks."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from segfold.data.augment import Augmenter
from segfold.data.augment.geometric import affine

STILL = {"shift": 0.0, "scale": 0.0, "rotate": 0.0, "shear": 0.0, "p": 1.0}


def disc(size: int = 121, axes: tuple[int, int] = (25, 25)) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((size, size), np.uint8)
    cv2.ellipse(mask, (size // 2, size // 2), axes, 0, 0, 360, 1, -1)
    return mask[:, :, None] * np.uint8(255), mask


def moments(mask: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Area, centre (x, y) and covariance of a mask's pixels."""
    y, x = np.nonzero(mask)
    points = np.stack([x, y])
    return len(x), points.mean(axis=1), np.cov(points)


def augmented_masks(axes: tuple[int, int] = (25, 25), **settings: float) -> Iterator[np.ndarray]:
    augmenter = Augmenter({"affine": {**STILL, **settings}}, 0)
    image, mask = disc(axes=axes)
    for index in range(40):
        yield augmenter(image, mask, 0, index)[1]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_affine_equals_albumentations(channels: int) -> None:
    import albumentations

    image = np.random.default_rng(0).integers(0, 256, (61, 69, channels), np.uint8)
    mask = (image[:, :, 0] > 127).astype(np.uint8)
    ours = affine(shift=0.1, scale=0.2, rotate=15, shear=5, p=1)
    theirs = albumentations.Affine(
        translate_percent={"x": (-0.1, 0.1), "y": (-0.1, 0.1)},
        scale=(0.8, 1.2),
        keep_ratio=True,
        rotate=(-15, 15),
        shear={"x": (-5, 5), "y": (-5, 5)},
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_REFLECT_101,
        p=1,
    )
    for seed in range(5):
        ours.set_random_seed(seed)
        theirs.set_random_seed(seed)
        got, want = ours(image=image, mask=mask), theirs(image=image, mask=mask)
        np.testing.assert_array_equal(got["image"], want["image"])
        np.testing.assert_array_equal(got["mask"], want["mask"])


def test_affine_shift_moves_the_centre_along_both_axes() -> None:
    centres = np.array([moments(mask)[1] - 60 for mask in augmented_masks(shift=0.2)])
    assert np.abs(centres).max() <= 0.2 * 121
    assert (np.abs(centres).max(axis=0) > 15).all()
    assert abs(np.corrcoef(centres.T)[0, 1]) < 0.5
    assert {moments(mask)[0] for mask in augmented_masks(shift=0.2)} == {moments(disc()[1])[0]}


def test_affine_scale_zooms_both_ways_about_the_centre() -> None:
    area = moments(disc()[1])[0]
    found = [moments(mask) for mask in augmented_masks(scale=0.3)]
    zooms = np.array([(part[0] / area) ** 0.5 for part in found])
    assert zooms.min() > 0.68 and zooms.max() < 1.32
    assert zooms.min() < 0.8 and zooms.max() > 1.2
    for _, centre, covariance in found:
        np.testing.assert_allclose(centre, 60, atol=0.3)
        assert covariance[0, 0] == pytest.approx(covariance[1, 1], rel=0.05)


def test_affine_rotate_turns_about_the_centre() -> None:
    angles = []
    for mask in augmented_masks(axes=(40, 12), rotate=20.0):
        _, centre, covariance = moments(mask)
        np.testing.assert_allclose(centre, 60, atol=0.3)
        angles.append(np.degrees(0.5 * np.arctan2(2 * covariance[0, 1], covariance[0, 0] - covariance[1, 1])))
    assert max(np.abs(angles)) < 21
    assert min(angles) < -12 and max(angles) > 12


def test_affine_shear_leans() -> None:
    leaning = [moments(mask) for mask in augmented_masks(shear=15.0)]
    slants = [covariance[0, 1] / covariance[1, 1] for _, _, covariance in leaning]
    assert min(slants) < -0.1 and max(slants) > 0.1
    # The product of both shears stays near 1 in determinant: nothing is zoomed.
    assert all(area == pytest.approx(moments(disc()[1])[0], rel=0.1) for area, _, _ in leaning)
