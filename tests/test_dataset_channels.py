"""Planes beside the image: their values, their place, and that they are the same in training and prediction."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from segfold.data.augment import Augmenter
from segfold.data.channels import InputPlanes
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.images import ImageSet, load_split
from segfold.errors import SegfoldError
from segfold.inference.manner import PredictionSettings
from segfold.inference.predict import predict
from segfold.machine import Runtime
from segfold.models import Output
from small_images import PAD, image_set, prediction_set, training_set
from tiny_competition import TEST_IDS, TINY, TRAIN_IDS, write_tiny

DEPTHS = np.array([51.0, 300.0, 955.0, 505.5])


def deep_set(depths: np.ndarray = DEPTHS, **changes: Any) -> ImageSet:
    ids = [f"{i:03}" for i in range(len(depths))]
    extra = pd.DataFrame({"depth": depths[::-1]}, index=ids[::-1])
    return image_set(len(depths), extra=extra, limits={"depth": (51.0, 960.0)}, **changes)


def test_height_channel() -> None:
    images = image_set(2)
    augmenter = Augmenter({"brightness": {"limit": 0.5, "p": 1.0}}, 0)
    sample = training_set(images, augmenter=augmenter, channels=("y", "image"))[0, 1, 1]["image"]
    assert sample.shape == (4, 128, 128) and sample.dtype == torch.float32
    inside = sample[:, 13:114, 13:114]
    np.testing.assert_allclose(inside[0], np.linspace(0, 255, 101)[:, None].repeat(101, axis=1), atol=1e-3)
    expected, _ = augmenter(images.images[1], images.masks[1], 0, 1)  # type: ignore[index]
    np.testing.assert_array_equal(inside[1:].permute(1, 2, 0), expected)
    predicted = prediction_set(images, [1], PAD, channels=("image", "y"))[0, 0].image[0]
    np.testing.assert_array_equal(predicted[3], sample[0])
    np.testing.assert_array_equal(predicted[:3].permute(1, 2, 0), PAD.image(images.images[1]))


def test_image_times_height() -> None:
    images = image_set(2, channels=3)
    augmenter = Augmenter({"hflip": {"p": 1.0}}, 0)
    sample = training_set(images, augmenter=augmenter, channels=("image_y", "image"))[0, 1, 1]["image"]
    assert sample.shape == (4, 128, 128)
    share = np.linspace(0, 1, 101)[:, None]
    expected = images.images[1][:, ::-1].mean(axis=2) * share
    np.testing.assert_allclose(sample[0, 13:114, 13:114], expected, atol=1e-3)
    predicted = prediction_set(images, [1], PAD, channels=("image", "image_y"))[0, 0].image[0]
    np.testing.assert_allclose(predicted[3, 13:114, 13:114], expected[:, ::-1], atol=1e-3)


@pytest.mark.parametrize(
    "sizing", [PAD, Sizing(128, 128, "pad", "zero"), Sizing(64, 96, "resize"), Sizing(256, 256, resize=(202, 202))]
)
def test_depth_is_one_value_an_image_in_training_and_prediction(sizing: Sizing) -> None:
    images = deep_set()
    channels = ("y", "image", "depth")
    rows = np.array([3, 1, 2])
    augmenter = Augmenter({"affine": {"p": 1.0}, "brightness": {"p": 1.0}}, 0)
    trained = training_set(images, rows=rows, sizing=sizing, augmenter=augmenter, channels=channels)
    predicted = prediction_set(images, rows, sizing, channels=channels)
    for position, row in enumerate(rows):
        expected = 255 * (DEPTHS[row] - 51) / (960 - 51)
        for image in (trained[0, position, position]["image"], predicted[position, 0].image[0]):
            assert image.shape == (5, sizing.height, sizing.width) and image.dtype == torch.float32
            np.testing.assert_allclose(image[4], expected, rtol=1e-6)
    first = prediction_set(images, rows, sizing, channels=("depth", "image"))[0, 0].image
    np.testing.assert_allclose(first[0], 255 * (DEPTHS[3] - 51) / (960 - 51), rtol=1e-6)
    np.testing.assert_array_equal(first[1:].permute(1, 2, 0), sizing.image(images.images[3].astype(np.float32)))


def test_depths_have_the_limits_of_the_whole_table(tmp_path: Any) -> None:
    write_tiny(tmp_path / "data" / "tiny")
    splits = [load_split(TINY, split, tmp_path) for split in ("train", "test")]  # type: ignore[arg-type]
    values = pd.concat([images.extra["depth"] for images in splits])
    assert splits[0].limits == splits[1].limits == {"depth": (values.min(), values.max())}
    assert len(values) == len(TRAIN_IDS) + len(TEST_IDS)
    assert any(images.extra["depth"].max() < values.max() for images in splits)
    sets = [prediction_set(images, np.arange(len(images)), PAD, channels=("depth",)) for images in splits]
    planes = [float(samples[row, 0].image.mean()) for samples in sets for row in range(len(samples))]
    np.testing.assert_allclose(planes, 255 * (values - values.min()) / np.ptp(values), rtol=1e-5)


def test_an_image_without_depth_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"^input\.channels names depth, but the competition has no table[^\n]*$"):
        training_set(image_set(2), channels=("image", "depth"))
    lacking = deep_set(np.array([1.0, np.nan, 3.0]))
    with pytest.raises(SegfoldError, match=r"^no depth of 001: [^\n]*$"):
        prediction_set(lacking, np.arange(3), PAD, channels=("image", "depth"))
    training_set(lacking, channels=("image", "y"))


@pytest.mark.parametrize("border", ["reflect", "edge", "zero"])
def test_planes_of_a_window_are_those_of_the_whole_image_there(border: Any) -> None:
    """Beyond the image, too, where they go on as its padding does."""
    planes = InputPlanes(image_set(1), ("y", "image_y", "image"))
    image = image_set(1, (40, 30)).images[0]
    padded = planes(image, 0, Sizing(100, 90, border=border), (30, 30))
    larger = Sizing(100, 90, border=border).image(image, (30, 30))
    for top, height in ((35, 20), (30, 40), (12, 60), (0, 90), (55, 45)):
        window, sizing = larger[top : top + height, 32:58], Sizing(height, 26, border=border)
        found = planes(window, 0, sizing, None, (top - 30, 40))
        np.testing.assert_allclose(found, padded[top : top + height, 32:58], atol=1e-4)
    inside = planes(image[8:21], 0, Sizing(13, 30), None, (8, 40))
    np.testing.assert_array_equal(inside, planes(image, 0, Sizing(40, 30), None)[8:21])


SIZINGS = [PAD, Sizing(128, 128, "pad", "zero"), Sizing(64, 64, "resize"), Sizing(256, 256, resize=(150, 202))]


@pytest.mark.parametrize("sizing", SIZINGS)
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_are_made_after_the_transforms_of_tta(sizing: Sizing, name: str, dtype: type) -> None:
    """The image turns, and the height still grows from the top of what the network sees to its bottom."""
    images = image_set(1, shape=(101, 90), dtype=dtype)
    channels = ("image", "y", "image_y")
    seen = prediction_set(images, [0], sizing, channels=channels, tta=["identity", name])[0, 0].image
    plain = prediction_set(images, [0], sizing, channels=channels)[0, 0].image[0]
    np.testing.assert_array_equal(seen[0], plain)
    turn = TRANSFORMS[name].forward
    # The pixels are those of the transformed input, as without planes.
    np.testing.assert_allclose(seen[1][:-2], turn(plain[:-2]), atol=1e-2)
    height, image_height = seen[1][-2].numpy(), seen[1][-1].numpy()
    inside = turn(torch.from_numpy(sizing.valid((101, 90)))).numpy()
    rows = np.flatnonzero(inside.any(1))
    ramp = np.linspace(0, 255, len(rows))
    step = 255 / (len(rows) - 1)
    for column in np.flatnonzero(inside.any(0)):
        assert np.abs(height[rows, column] - ramp).max() < step  # stretching moves the ends by half a pixel
        assert height[rows[0], column] < height[rows[-1], column]
    grey = seen[1][:-2].mean(0).numpy()
    assert np.abs(image_height - grey * height / 255)[inside].max() < 255 * step / 128


def test_a_network_that_knows_up_from_down_is_asked_the_same_way_round() -> None:
    """Its answer depends on the height alone: training never turned that plane, so no transform may."""

    class Height(nn.Module):
        def forward(self, pixels: torch.Tensor) -> Output:
            return Output((pixels[:, 3:4] - 128) / 32)

    images = image_set(3)
    runtime = Runtime(torch.device("cpu"), "fp32", False, 1, 0)
    plain, flipped = (
        {
            found.id: found.planes
            for found in predict(
                Height(), images, np.arange(3), PredictionSettings(PAD, runtime, tta, 2, ("image", "y"))
            )
        }
        for tta in (("identity",), ("identity", "vflip"))
    )
    for name, values in plain.items():
        upside_down = values[:, ::-1]
        np.testing.assert_allclose(flipped[name], (values + upside_down) / 2, atol=1e-6)


def test_an_image_that_is_not_square_is_turned_with_its_planes() -> None:
    """The network sees the turned image in a turned frame, and the height of the turned image."""
    images = image_set(1, shape=(40, 60))
    sizing, channels = Sizing(48, 72), ("image", "y")
    for name, transform in TRANSFORMS.items():
        (seen,) = prediction_set(images, [0], sizing, channels, [name])[0, 0].image
        turned = np.ascontiguousarray(transform.image(images.images[0]))
        frame = Sizing(*transform.shape((48, 72)))
        np.testing.assert_array_equal(seen[:3].permute(1, 2, 0), frame.image(turned.astype(np.float32)))
        window = frame.window((turned.shape[0], turned.shape[1]))
        ramp = np.linspace(0, 255, turned.shape[0])[:, None]
        np.testing.assert_allclose(seen[3][window.slices], ramp.repeat(turned.shape[1], axis=1), atol=1e-3)
