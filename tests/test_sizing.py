"""Sizing: padding against numpy, resizing against torch, and exact ways back."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segfold.data.geometry.sizing import Sizing, Window
from segfold.errors import SegfoldError

NUMPY_MODES = {"reflect": "reflect", "edge": "edge", "zero": "constant"}


def pixels(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def blobs(count: int, size: int = 101) -> np.ndarray:
    """Masks with smooth outlines, of any area, cut by the border: thresholded smooth noise."""
    stream = np.random.default_rng(1)
    masks = np.zeros((count, size, size), np.uint8)
    for mask in masks:
        noise = cv2.GaussianBlur(stream.normal(size=(size, size)), (0, 0), 8)
        mask[:] = noise > np.quantile(noise, stream.uniform(0.1, 0.95))
    return masks


def strict_scores(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The competition's metric of non-empty masks: the share of .5, .55, … .95 that the IoU is above."""
    shared = (found & truth).sum(axis=(1, 2))
    either = (found | truth).sum(axis=(1, 2))
    return np.mean([20 * shared > either * (10 + k) for k in range(10)], axis=0)


def there_and_back(masks: np.ndarray) -> tuple[float, float]:
    """Mean score of masks taken from 101 to 128 and back, by ``Sizing`` and by the nearest pixel."""
    sizing = Sizing(128, 128, "resize")
    linear = np.stack([sizing.restore(sizing.mask(m).astype(np.float32), m.shape) > 0.5 for m in masks])
    nearest = [
        cv2.resize(
            cv2.resize(m, (128, 128), interpolation=cv2.INTER_NEAREST),
            (101, 101),
            interpolation=cv2.INTER_NEAREST,
        )
        for m in masks
    ]
    return float(strict_scores(linear, masks).mean()), float(strict_scores(np.stack(nearest), masks).mean())


def test_101_in_128_is_13_before_and_14_after() -> None:
    assert Sizing(128, 128).window((101, 101)) == Window(13, 13, 101, 101)
    padded = Sizing(128, 128, "pad", "zero").image(np.ones((101, 101, 3), np.uint8))
    inside = np.flatnonzero(padded[64, :, 0])
    assert (inside[0], 127 - inside[-1]) == (13, 14)


@pytest.mark.parametrize("border", NUMPY_MODES)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_pad_equals_numpy(border: Any, channels: int) -> None:
    sizing = Sizing(40, 64, "pad", border)
    image, mask = pixels(33, 41, channels), pixels(33, 41) % 2
    edges = ((2, 5), (20, 3))
    expected = np.pad(image, (*edges, (0, 0)), NUMPY_MODES[border])  # type: ignore[call-overload]
    np.testing.assert_array_equal(sizing.image(image, (2, 20)), expected)
    expected = np.pad(mask, edges, NUMPY_MODES[border])  # type: ignore[call-overload]
    np.testing.assert_array_equal(sizing.mask(mask, (2, 20)), expected)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("shape", [(101, 101), (150, 77)])
def test_resize_equals_torch(channels: int, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*shape, channels), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], (128, 96), mode="bilinear", align_corners=False
    )[0]
    sizing = Sizing(128, 96, "resize")
    np.testing.assert_allclose(sizing.image(image), expected.permute(1, 2, 0), atol=2e-5)
    back = torch.nn.functional.interpolate(expected[None], shape, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(sizing.restore(expected.numpy(), shape), back, atol=2e-5)


def areas(size: int, target: int) -> np.ndarray:
    """Share of each of ``size`` pixels in each of ``target`` new ones, target×size, rows adding up to 1."""
    ends = np.linspace(0, size, target + 1)
    shared = np.minimum(ends[1:, None], np.arange(1, size + 1)) - np.maximum(ends[:-1, None], np.arange(size))
    return shared.clip(0) * target / size


def between(size: int, target: int) -> np.ndarray:
    """The same of bilinear interpolation."""
    identity = torch.eye(size)[None]
    return torch.nn.functional.interpolate(identity, target, mode="linear", align_corners=False)[0].T.double().numpy()


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize(
    ("shape", "target", "rows", "columns"),
    [
        ((101, 77), (40, 20), areas, areas),
        ((101, 40), (33, 32), areas, between),
        ((30, 90), (45, 16), between, areas),
        ((64, 32), (32, 16), areas, areas),  # shrunk by just 2, bilinear is the area
        ((60, 60), (31, 45), between, between),
    ],
)
def test_what_shrinks_by_more_than_two_is_averaged_over_areas(channels, shape, target, rows, columns) -> None:
    image = np.random.default_rng(0).random((*shape, channels), np.float32)
    expected = np.einsum("yi,ijc,xj->yxc", rows(shape[0], target[0]), image, columns(shape[1], target[1]))
    np.testing.assert_allclose(Sizing(*target, "resize").image(image), expected, atol=1e-5)
    padded = Sizing(64, 64, resize=target)
    np.testing.assert_allclose(padded.image(image)[padded.window(shape).slices], expected, atol=1e-5)
    mask = (image[:, :, 0] > 0.5).astype(np.uint8)
    soft = rows(shape[0], target[0]) @ mask @ columns(shape[1], target[1]).T
    sure = np.abs(soft - 0.5) > 1e-5
    np.testing.assert_array_equal(Sizing(*target, "resize").mask(mask)[sure], (soft > 0.5)[sure])
    # A prediction is taken back in the same way: here from a large input to a small image.
    planes = np.moveaxis(image, 2, 0)
    np.testing.assert_allclose(Sizing(*shape, "resize").restore(planes, target), np.moveaxis(expected, 2, 0), atol=1e-5)
    eight_bits = (image * 255).astype(np.uint8)
    expected = np.einsum("yi,ijc,xj->yxc", rows(shape[0], target[0]), eight_bits, columns(shape[1], target[1]))
    assert np.abs(Sizing(*target, "resize").image(eight_bits) - expected).max() <= 1.25  # rounded after each axis


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_shrinking_and_back_moves_nothing(factor: int) -> None:
    size = 24 * factor
    sizing = Sizing(24, 24, "resize")
    ramp = np.tile(np.arange(size, dtype=np.float32), (size, 1))
    back = sizing.restore(sizing.image(ramp[:, :, None])[:, :, 0], (size, size))
    inner = slice(factor, size - factor)  # nearer to the border the ramp does not go on
    np.testing.assert_allclose(back[inner, inner], ramp[inner, inner], atol=1e-3)
    noise = np.random.default_rng(0).random((size, size, 1), np.float32)
    assert sizing.image(noise).mean() == pytest.approx(noise.mean(), abs=1e-5)  # no pixel is left out


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_restore_undoes_pad_at_any_offset(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    border: Any = data.draw(st.sampled_from(list(NUMPY_MODES)))
    sizing = Sizing(height + data.draw(st.integers(0, 30)), width + data.draw(st.integers(0, 30)), "pad", border)
    most = sizing.slack((height, width))
    offset = data.draw(st.none() | st.tuples(st.integers(0, most[0]), st.integers(0, most[1])))
    image = pixels(height, width, data.draw(st.integers(1, 5)), dtype=data.draw(st.sampled_from([np.uint8, np.uint16])))
    mask = image[:, :, 0].astype(np.uint8) % 2
    padded = sizing.image(image, offset)
    assert padded.dtype == image.dtype and padded.shape[:2] == (sizing.height, sizing.width)
    restored = sizing.restore(np.moveaxis(padded, 2, 0), (height, width), offset)
    np.testing.assert_array_equal(np.moveaxis(restored, 0, 2), image)
    np.testing.assert_array_equal(sizing.restore(sizing.mask(mask, offset), (height, width), offset), mask)
    valid = sizing.valid((height, width), offset)
    assert valid.dtype == bool and valid.sum() == height * width
    np.testing.assert_array_equal(padded[valid], image.reshape(-1, image.shape[2]))


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_flip_commutes_with_the_geometry(fit: str) -> None:
    # What flip TTA relies on: the mirrored input has its border of 14 on the left.
    sizing = Sizing(128, 128, fit)  # type: ignore[arg-type]
    image = np.random.default_rng(0).random((101, 101, 1), np.float32)
    flipped_input = sizing.image(image)[:, ::-1]
    prediction = flipped_input[:, ::-1, 0]  # a network that returns its input, and the flip undone
    direct = sizing.restore(sizing.image(image)[:, :, 0], (101, 101))
    np.testing.assert_array_equal(sizing.restore(prediction, (101, 101)), direct)
    other_way = sizing.restore(sizing.image(image[:, ::-1])[:, :, 0], (101, 101))[:, ::-1]
    np.testing.assert_allclose(other_way, direct, atol=1e-5)


def test_resize_covers_the_input() -> None:
    sizing = Sizing(64, 32, "resize")
    assert sizing.window((101, 77)) == Window(0, 0, 64, 32)
    assert sizing.valid((101, 77)).shape == (64, 32)
    assert sizing.valid((101, 77)).all()
    assert sizing.image(pixels(101, 77, 1)).shape == (64, 32, 1)
    assert sizing.image(pixels(101, 77, 3, dtype=np.uint16)).dtype == np.uint16


def test_resized_masks_are_binary_and_one_half_is_background() -> None:
    sized = Sizing(128, 128, "resize").mask(blobs(1)[0])
    assert sized.dtype == np.uint8 and set(np.unique(sized)) == {0, 1}
    # The middle of three pixels lies exactly between the two.
    np.testing.assert_array_equal(Sizing(1, 3, "resize").mask(np.array([[0, 1]], np.uint8)), [[0, 0, 1]])


def test_restored_classes_keep_their_axes() -> None:
    prob = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    for fit in ("pad", "resize"):
        sizing = Sizing(16, 16, fit)
        restored = sizing.restore(prob, (11, 13))
        assert restored.shape == (2, 3, 11, 13)
        np.testing.assert_array_equal(restored[1, 2], sizing.restore(prob[1, 2], (11, 13)))
        assert restored.min() >= 0 and restored.max() <= 1


def test_resizing_masks_and_back_keeps_the_score() -> None:
    linear, nearest = there_and_back(blobs(150))
    assert linear > 0.99
    assert nearest < linear - 0.02


def test_round_trip_ceiling_of_the_real_masks() -> None:
    root = os.environ.get("SEGFOLD_DATA_ROOT")
    folder = Path(root or ".") / "tgs-salt" / "train" / "masks"
    if not root or not folder.is_dir():
        pytest.skip("SEGFOLD_DATA_ROOT names no folder with tgs-salt/train/masks")
    files = sorted(folder.glob("*.png"))
    masks = (np.stack([np.asarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED)) for file in files]) > 0).view(np.uint8)
    filled = masks.any(axis=(1, 2))
    # Empty masks stay empty and score 1. T §2 has .9997 and .9338 for all 4,000 masks.
    linear, nearest = (score * filled.mean() + 1 - filled.mean() for score in there_and_back(masks[filled]))
    assert linear > 0.9995
    assert nearest == pytest.approx(0.9338, abs=2e-3)


@pytest.mark.parametrize(("resize", "size"), [((202, 202), 256), ((192, 192), 224), ((101, 77), 128)])
@pytest.mark.parametrize("border", NUMPY_MODES)
def test_stretched_then_padded_equals_the_two_in_turn(resize: tuple[int, int], size: int, border: Any) -> None:
    # The winners' routes: 101 → 202 → 256 with a border of 27, and 101 → 192 → 224.
    both, offset = Sizing(size, size, "pad", border, resize), (3, 20)
    stretch, pad = Sizing(*resize, "resize"), Sizing(size, size, "pad", border)
    image, mask = pixels(101, 90, 3), blobs(1)[0][:, :90]
    for where in (None, offset):
        np.testing.assert_array_equal(both.image(image, where), pad.image(stretch.image(image), where))
        np.testing.assert_array_equal(both.mask(mask, where), pad.mask(stretch.mask(mask), where))
        window = both.window((101, 90), where)
        assert (window.height, window.width) == resize
        valid = both.valid((101, 90), where)
        np.testing.assert_array_equal(valid, pad.valid(resize, where))
        np.testing.assert_array_equal(both.image(image, where)[valid].reshape(*resize, 3), stretch.image(image))
        prob = np.random.default_rng(0).random((2, size, size), np.float32)
        expected = stretch.restore(pad.restore(prob, resize, where), (101, 90))
        np.testing.assert_array_equal(both.restore(prob, (101, 90), where), expected)
    assert both.slack((101, 90)) == both.slack((7, 500)) == (size - resize[0], size - resize[1])
    assert both.image(pixels(101, 90, 1)).shape == (size, size, 1)


@pytest.mark.parametrize(
    "sizing",
    [
        Sizing(256, 256, resize=(202, 202)),
        Sizing(224, 224, "pad", "edge", (192, 200)),
        Sizing(128, 128),
        Sizing(160, 128, "resize"),
        Sizing(64, 64, resize=(50, 40)),
    ],
)
def test_restore_undoes_the_way_there(sizing: Sizing) -> None:
    constant = np.full((101, 90, 1), 0.7, np.float32)
    offset = sizing.slack((101, 90))
    there = sizing.image(constant, offset)
    np.testing.assert_allclose(sizing.restore(there[:, :, 0], (101, 90), offset), constant[:, :, 0], rtol=1e-6)
    y, x = np.mgrid[0:101, 0:90] / 101
    smooth = (0.5 + 0.4 * np.sin(4 * x + 1) * np.cos(3 * y)).astype(np.float32)
    back = sizing.restore(sizing.image(smooth[:, :, None], offset)[:, :, 0], (101, 90), offset)
    assert back.shape == (101, 90)
    assert np.abs(back - smooth).max() < 0.03 and np.abs(back - smooth).mean() < 2e-3


def test_what_was_stretched_is_a_copy() -> None:
    image, mask = pixels(40, 40, 3), pixels(40, 40) % 2
    image.flags.writeable = mask.flags.writeable = False
    for sizing in (Sizing(40, 40, "resize"), Sizing(40, 40, resize=(40, 40)), Sizing(40, 40)):
        for got, want in ((sizing.image(image), image), (sizing.mask(mask), mask)):
            np.testing.assert_array_equal(got, want)
            assert got.flags.writeable and not np.shares_memory(got, want)


def test_a_stretch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"^input\.resize of 130×101 does not fit [^\n]* 128×128: set [^\n]*$"):
        Sizing(128, 128, resize=(130, 101))
    with pytest.raises(SegfoldError, match=r"^input\.resize is for input\.fit=pad[^\n]*$"):
        Sizing(128, 128, "resize", resize=(101, 101))
    Sizing(128, 128, resize=(101, 101)).window((500, 700))  # larger than the input, but stretched


def test_an_image_too_large_to_pad_is_refused() -> None:
    sizing = Sizing(128, 128)
    for use in (
        lambda: sizing.window((101, 129)),
        lambda: sizing.image(pixels(129, 101, 3)),
        lambda: sizing.mask(pixels(129, 101)),
        lambda: sizing.valid((129, 101)),
        lambda: sizing.restore(np.zeros((128, 128)), (129, 101)),
    ):
        with pytest.raises(SegfoldError, match=r"does not fit .* input\.fit=resize") as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("offset", [(-1, 0), (0, 28), (28, 0)])
def test_an_offset_outside_is_refused(offset: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="offset"):
        Sizing(128, 128).window((101, 101), offset)


def test_a_prediction_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="prediction"):
        Sizing(128, 128).restore(np.zeros((1, 64, 64)), (101, 101))
