"""Augmentation: a function of (seed, epoch, index); image and mask move together; every setting is heeded."""

import hashlib
import inspect
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import cv2
import numpy as np
import pytest

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.keys import sample_key
from segfold.errors import SegfoldError

ALL = {name: {"p": 1.0} for name in AUGMENTATIONS}
GEOMETRIC = {
    "hflip": {"p": 0.5},
    "vflip": {"p": 0.5},
    "affine": {"shift": 0.2, "scale": 0.3, "rotate": 40.0, "shear": 10.0, "p": 1.0},
}


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
    cv2.setRNGSeed(0)
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


def test_no_step_hangs_on_another() -> None:
    rough = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    augmenter = Augmenter({name: {"p": 0.5} for name in AUGMENTATIONS}, 0)
    applied: list[list[bool]] = []

    def watched(step: Any) -> Any:
        class Watched:
            set_random_state = step.set_random_state

            def __call__(self, **data: np.ndarray) -> dict[str, np.ndarray]:
                result: dict[str, np.ndarray] = step(**data)
                applied[-1].append(result["image"] is not data["image"])
                return result

        return Watched()

    augmenter._steps = [watched(step) for step in augmenter._steps]
    for index in range(500):
        applied.append([])
        augmenter(rough, rough[:, :, 0] // 128, 0, index)
    table = np.array(applied, float)
    assert table.shape == (500, len(AUGMENTATIONS))
    np.testing.assert_allclose(table.mean(axis=0), 0.5, atol=0.09)
    np.testing.assert_allclose(np.corrcoef(table.T), np.eye(len(AUGMENTATIONS)), atol=0.18)


@pytest.mark.parametrize("step", AUGMENTATIONS)
def test_probability_is_heeded(step: str) -> None:
    _, mask = sample()
    image = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), np.uint8)

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
        ("shear", "limit", 1.5),
        ("crop", "scale", 0.0),
        ("crop", "ratio", 0.5),
        ("elastic", "limit", 0.6),
        ("elastic", "smooth", 0.0),
        ("grid_distortion", "steps", 0),
        ("grid_distortion", "limit", 1.0),
        ("elastic_grid", "nodes", 1),
        ("elastic_grid", "sigma", -1.0),
        ("invert", "p", 2.0),
        ("blur", "sigma", 0.0),
        ("noise", "sigma", 2.0),
        ("cutout", "holes", -1),
        ("cutout", "size", 1.1),
        ("cutout", "fill", -0.5),
    ],
)
def test_settings_out_of_range_are_refused(step: str, key: str, value: float) -> None:
    with pytest.raises(SegfoldError, match=rf"^augment\.{step}\.{key}: Input should be [^\n]*, found {value}$"):
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
        bare = get_type_hints(AUGMENTATIONS[step])[parameter.name]
        assert bare in (float, int, float | None) and bare != parameter.annotation  # the range is beside it
        assert isinstance(parameter.default, bare)


def digest(steps: dict[str, dict[str, float]]) -> str:
    """Of what two samples become, in any process."""
    whole = hashlib.sha256()
    augmenter = Augmenter(steps, 7)
    image = (np.arange(40 * 50 * 3).reshape(40, 50, 3) * 7 % 251).astype(np.uint8)
    for index in (3, "3/mixup"):
        for part in augmenter(image, image[:, :, 0] // 128, 2, index):  # type: ignore[arg-type]
            whole.update(part.tobytes())
    return whole.hexdigest()


def test_a_fresh_process_augments_alike() -> None:
    # There, too: the library is imported late, and asks nobody for news.
    code = (
        "import os, sys, test_augment\n"
        "assert 'albumentations' not in sys.modules\n"
        "print(test_augment.digest(test_augment.ALL))\n"
        "assert 'albumentations' in sys.modules\n"
        "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'\n"
    )
    clean = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    clean["PYTHONPATH"] = os.pathsep.join(str(Path(__file__).parents[1] / name) for name in ("src", "tests"))
    found = subprocess.run([sys.executable, "-c", code], check=True, env=clean, capture_output=True, text=True)
    assert found.stdout.strip() == digest(ALL)
    assert digest(ALL) != digest({"shear": {"p": 1.0}})
