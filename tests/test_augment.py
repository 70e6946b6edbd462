"""Augmentation: a function of (seed, epoch, index); image and mask move together; every setting is heeded."""

import inspect
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from segfold.data.augment import AUGMENTATIONS, Augmenter, affine, sample_key
from segfold.errors import SegfoldError

ALL = {name: {"p": 1.0} for name in AUGMENTATIONS}
GEOMETRIC = {
    "hflip": {"p": 0.5},
    "vflip": {"p": 0.5},
    "affine": {"shift": 0.2, "scale": 0.3, "rotate": 40.0, "shear": 10.0, "p": 1.0},
}
STILL = {"shift": 0.0, "scale": 0.0, "rotate": 0.0, "shear": 0.0, "p": 1.0}


def sample(channels: int = 3, dtype: type = np.uint8, size: int = 61) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image and a mask of two blobs, read-only as the cache's arrays are."""
    stream = np.random.default_rng(0)
    noise: np.ndarray = cv2.GaussianBlur(stream.normal(size=(size, size + 8, channels)), (0, 0), 3).reshape(
        size, -1, channels
    )
    image = np.interp(noise, (noise.min(), noise.max()), (0, np.iinfo(dtype).max)).astype(dtype)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(mask, (20, 20), 11, 1, -1)
    cv2.ellipse(mask, (50, 40), (20, 9), 30, 0, 360, 1, -1)
    image.flags.writeable = mask.flags.writeable = False
    return image, mask


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


def grey_levels(step: str, value: int, **settings: float) -> np.ndarray:
    """What a constant image becomes, for each of 200 samples."""
    augmenter = Augmenter({step: {"p": 1.0, **settings}}, 0)
    image, mask = np.full((4, 5, 3), value, np.uint8), np.eye(4, 5, dtype=np.uint8)
    found = []
    for index in range(200):
        changed, same = augmenter(image, mask, 0, index)
        assert np.ptp(changed) == 0
        np.testing.assert_array_equal(same, mask)
        found.append(int(changed[0, 0, 0]))
    return np.array(found)


def test_result_depends_on_seed_epoch_and_index_alone() -> None:
    image, mask = sample()
    first = Augmenter(ALL, 3)
    expected = first(image, mask, 5, 7)
    first(image, mask, 0, 0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    for augmenter in (first, Augmenter(ALL, 3), pickle.loads(pickle.dumps(first))):
        for got, want in zip(augmenter(image, mask, 5, 7), expected, strict=True):
            np.testing.assert_array_equal(got, want)
    others = [Augmenter(ALL, seed)(image, mask, epoch, i)[0] for seed, epoch, i in ((4, 5, 7), (3, 6, 7), (3, 5, 8))]
    assert all((other != expected[0]).any() for other in others)


def test_keys_are_fixed_and_distinct() -> None:
    # As written down: resuming on another machine or Python must draw the same numbers.
    assert sample_key("augment", 0, 0, 0) == 17813008828619570039
    keys = {sample_key("augment", seed, epoch, i) for seed in range(5) for epoch in range(20) for i in range(100)}
    assert len(keys) == 10_000
    assert sample_key(1, 11) != sample_key(11, 1)


def test_steps_apply_independently_of_each_other() -> None:
    # With one seed for every step, flips of equal probability would always come together.
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    augmenter = Augmenter({"hflip": {"p": 0.5}, "vflip": {"p": 0.5}}, 0)
    mask = np.zeros((2, 2), np.uint8)
    corners = [int(augmenter(image, mask, 0, i)[0][0, 0, 0]) for i in range(800)]
    shares = np.bincount(corners, minlength=4) / 800
    assert shares == pytest.approx([0.25] * 4, abs=0.06)


@pytest.mark.parametrize("step", AUGMENTATIONS)
def test_probability_is_heeded(step: str) -> None:
    image, mask = sample()

    def changed(p: float) -> float:
        augmenter = Augmenter({step: {"p": p}}, 0)
        return float(np.mean([(augmenter(image, mask, 0, i)[0] != image).any() for i in range(100)]))

    assert changed(0.0) == 0
    assert changed(0.3) == pytest.approx(0.3, abs=0.15)
    assert changed(1.0) > 0.97


def test_flips_equal_numpy() -> None:
    image, mask = sample()
    for step, axis in (("hflip", 1), ("vflip", 0)):
        flipped = Augmenter({step: {"p": 1.0}}, 0)(image, mask, 0, 0)
        np.testing.assert_array_equal(flipped[0], np.flip(image, axis))
        np.testing.assert_array_equal(flipped[1], np.flip(mask, axis))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_affine_equals_albumentations(channels: int) -> None:
    import albumentations

    image, mask = sample(channels)
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


def test_image_and_mask_move_together_and_masks_stay_binary() -> None:
    _, mask = sample()
    augmenter = Augmenter(GEOMETRIC, 0)
    differing = 0
    for index in range(60):
        image, moved = augmenter(np.repeat(mask[:, :, None] * np.uint8(255), 3, axis=2), mask, 0, index)
        assert moved.dtype == np.uint8 and set(np.unique(moved)) <= {0, 1}
        assert image.shape == (61, 69, 3) and moved.shape == (61, 69)
        differing += ((image[:, :, 0] > 127) != moved).sum()
    assert differing / (60 * mask.size) < 1e-3


def test_outside_is_reflected() -> None:
    image, mask = np.full((40, 40, 3), 200, np.uint8), np.ones((40, 40), np.uint8)
    augmenter = Augmenter(GEOMETRIC, 0)
    for index in range(20):
        changed, moved = augmenter(image, mask, 0, index)
        assert (changed == 200).all() and (moved == 1).all()


def test_brightness_adds() -> None:
    levels = grey_levels("brightness", 100, limit=0.2)
    assert levels.min() >= 100 - 51 and levels.max() <= 100 + 51
    assert levels.min() < 60 and levels.max() > 140
    assert grey_levels("brightness", 0, limit=0.2).max() > 40  # an offset lifts black, a factor does not


def test_contrast_multiplies() -> None:
    levels = grey_levels("contrast", 100, limit=0.3)
    assert levels.min() >= 70 - 1 and levels.max() <= 130
    assert levels.min() < 75 and levels.max() > 125
    assert (grey_levels("contrast", 0, limit=0.3) == 0).all()


def test_gamma_bends() -> None:
    levels = grey_levels("gamma", 100, limit=0.5)
    darkest, brightest = (255 * (100 / 255) ** power for power in (1.5, 1 / 1.5))
    assert levels.min() >= darkest - 1 and levels.max() <= brightest + 1
    assert levels.min() < darkest + 8 and levels.max() > brightest - 8
    for end in (0, 255):
        assert np.abs(grey_levels("gamma", end, limit=0.5) - end).max() <= 1


@pytest.mark.parametrize("step", AUGMENTATIONS)
def test_16_bits_are_augmented_as_8_are(step: str) -> None:
    image, mask = sample()
    augmenter = Augmenter({step: {"p": 1.0}}, 0)
    for index in range(5):
        want, moved = augmenter(image, mask, 0, index)
        got, same = augmenter(image.astype(np.uint16) * 257, mask, 0, index)
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(moved, same)
        assert np.abs(got / 257 - want).max() < 1.6


@pytest.mark.parametrize("step", AUGMENTATIONS)
def test_channels_are_augmented_alike(step: str) -> None:
    image, mask = sample(channels=6)
    augmenter = Augmenter({step: {"p": 1.0}}, 0)
    changed = augmenter(image, mask, 0, 0)[0]
    for channel in range(6):
        alone = augmenter(np.ascontiguousarray(image[:, :, channel : channel + 1]), mask, 0, 0)[0]
        assert np.abs(changed[:, :, channel].astype(int) - alone[:, :, 0]).max() <= 1


def test_no_steps_change_nothing() -> None:
    image, mask = sample()
    got = Augmenter({}, 0)(image, mask, 0, 0)
    assert got[0] is image and got[1] is mask


@pytest.mark.parametrize(
    ("step", "key", "value"),
    [
        ("hflip", "p", 1.5),
        ("vflip", "p", -0.1),
        ("affine", "scale", 1.0),
        ("affine", "shift", -0.1),
        ("affine", "rotate", 200.0),
        ("affine", "shear", 60.0),
        ("brightness", "limit", 2.0),
        ("contrast", "limit", -1.0),
        ("gamma", "limit", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(step: str, key: str, value: float) -> None:
    with pytest.raises(SegfoldError, match=rf"^augment\.{step}\.{key} is .* between 0 and [^\n]*$"):
        Augmenter({step: {key: value}}, 0)


def test_unknown_step_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"'flip'.*hflip, vflip, affine"):
        Augmenter({"flip": {}}, 0)


@pytest.mark.parametrize("step", AUGMENTATIONS)
def test_signatures_are_schemas(step: str) -> None:
    parameters = inspect.signature(AUGMENTATIONS[step]).parameters
    assert "p" in parameters
    for parameter in parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.annotation is float and isinstance(parameter.default, float)


def test_the_library_is_imported_late_and_asks_nobody_for_news() -> None:
    code = (
        "import os, sys, segfold.data.augment as augment\n"
        "assert 'albumentations' not in sys.modules\n"
        "augment.hflip()\n"
        "assert 'albumentations' in sys.modules\n"
        "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'\n"
    )
    clean = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    source = Path(__file__).parents[1] / "src"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=source, env=clean)
