"""The steps that are not albumentations' own: what they do, measured, and that every setting is heeded."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from segfold.data.augment import AUGMENTATIONS, Augmenter

GEOMETRIC: dict[str, dict[str, Any]] = {
    "shear": {"limit": 0.2},
    "crop": {"scale": 0.3},
    "elastic": {"limit": 0.08},
    "grid_distortion": {"limit": 0.4},
    "elastic_grid": {"sigma": 4.0},
}
STILL: dict[str, dict[str, Any]] = {
    "shear": {"limit": 0.0},
    "crop": {"scale": 1.0},
    "elastic": {"limit": 0.0},
    "grid_distortion": {"limit": 0.0},
    "elastic_grid": {"sigma": 0.0},
    "noise": {"sigma": 0.0},
    "blur": {"sigma": 0.1},
    "cutout": {"size": 0.0},
}
SHAPE = 90, 120


def augmented(step: str, image: np.ndarray, mask: np.ndarray, count: int, **settings: Any) -> Iterator[Any]:
    augmenter = Augmenter({step: {**settings, "p": 1.0}}, 0)
    for index in range(count):
        yield augmenter(image, mask, 0, index)


def origins(step: str, count: int = 60, **settings: Any) -> Iterator[np.ndarray]:
    """Where each pixel of a sample comes from: H×W×2, y and x in pixels; NaN where the outside is mirrored."""
    places = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=2)
    scale = 65535 / (max(SHAPE) - 1)
    for image, _ in augmented(
        step, np.rint(places * scale).astype(np.uint16), np.zeros(SHAPE, np.uint8), count, **settings
    ):
        found = image / scale
        for axis, length in enumerate(SHAPE):
            values = found[..., axis]
            mirrored = np.gradient(values, axis=axis) <= 0
            values[mirrored | (values < 0.6) | (values > length - 1.6)] = np.nan
        yield found


def linear(found: np.ndarray, axis: int) -> tuple[float, float, float]:
    """Coefficients (of y, of x, constant) of the origins along one axis, which must be linear."""
    y, x = np.nonzero(~np.isnan(found[..., axis]))
    system = np.stack([y, x, np.ones(len(y))], axis=1)
    solution, *_ = np.linalg.lstsq(system, found[y, x, axis], rcond=None)
    assert np.abs(system @ solution - found[y, x, axis]).max() < 0.08
    return tuple(solution.tolist())


def test_shear_moves_the_top_one_way_and_the_bottom_the_other() -> None:
    height, width = SHAPE
    moves = []
    for found in origins("shear", limit=0.2):
        np.testing.assert_allclose(linear(found, 0), (1, 0, 0), atol=0.05)
        slope, own, offset = linear(found, 1)
        assert own == pytest.approx(1, abs=1e-3)
        moves.append(-(offset - slope / 2) / width)  # of the upper edge, which is half a pixel above row 0
        assert offset + slope * (height - 0.5) == pytest.approx(moves[-1] * width, abs=0.1)
    assert -0.2 <= min(moves) < -0.15 and 0.15 < max(moves) <= 0.2


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_crop_shows_a_window_at_the_original_size(ratio: float) -> None:
    windows = []
    for found in origins("crop", scale=0.4, ratio=ratio):
        other_y, zoom_y, top = np.array(linear(found, 0))[[1, 0, 2]]
        other_x, zoom_x, left = linear(found, 1)
        assert max(abs(other_x), abs(other_y)) < 1e-3
        starts = np.array([top + 0.5 - zoom_y / 2, left + 0.5 - zoom_x / 2]) / SHAPE
        windows.append((*starts, zoom_y, zoom_x))
    first, spans = np.array(windows)[:, :2], np.array(windows)[:, 2:]
    assert first.min() > -2e-3 and (first + spans).max() < 1 + 2e-3
    assert first.min() < 0.02 and (first + spans).max() > 0.98
    areas, ratios = spans.prod(axis=1), spans[:, 0] / spans[:, 1]
    assert 0.398 < areas.min() < 0.5 and 0.9 < areas.max() <= 1.002
    assert ratios.max() <= ratio + 5e-3 and ratios.min() >= 1 / ratio - 5e-3
    if ratio > 1:
        assert ratios.max() > 1.25 and ratios.min() < 0.8


def moves(step: str, **settings: Any) -> np.ndarray:
    """How far pixels come from: count×H×W×2."""
    places = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=2)
    return np.stack([found - places for found in origins(step, **settings)])


def test_elastic_moves_smoothly_and_no_further_than_its_limit() -> None:
    field = moves("elastic", limit=0.06, smooth=0.12)
    longest = np.nanmax(np.hypot(field[..., 0], field[..., 1]), axis=(1, 2))
    assert 0.9 * 0.06 * 90 < longest.max() <= 0.06 * 90 + 0.05
    assert longest.min() < 0.02 * 90
    sizes = np.nanstd(field, axis=(1, 2))
    assert (sizes > 0).all() and abs(np.log(sizes[:, 0] / sizes[:, 1])).mean() < 0.7  # both axes alike
    flat = field.reshape(len(field), -1, 2)
    known = ~np.isnan(flat).any(axis=2)
    links = [np.corrcoef(flat[i][known[i]].T)[0, 1] for i in range(len(flat))]
    assert abs(np.mean(links)) < 0.15 and np.std(links) > 0.1  # one is not made from the other
    rough = moves("elastic", limit=0.06, smooth=0.03)

    def steepness(values: np.ndarray) -> float:
        return float(np.nanmean(np.abs(np.diff(values, axis=2))) / np.nanmean(np.abs(values)))

    assert steepness(rough) > 2.5 * steepness(field)


def test_elastic_does_not_fold_by_default() -> None:
    for found in origins("elastic"):
        inside = found[6:-6, 6:-6]  # no pixel comes from more than 4.5 away: here, nothing is mirrored but by a fold
        assert not np.isnan(inside).any()
        down, right = (np.diff(inside, axis=axis)[:77, :107] for axis in (0, 1))
        assert (down[..., 0] * right[..., 1] - down[..., 1] * right[..., 0]).min() > 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # rows that are unknown as a whole
def test_grid_distortion_moves_lines_between_fixed_edges() -> None:
    steps, limit = 4, 0.5
    for found in origins("grid_distortion", steps=steps, limit=limit):
        for axis, length in enumerate(SHAPE):
            values = found[..., axis]
            assert np.nanmax(np.nanstd(values, axis=1 - axis)) < 1e-3  # a row's rows, a column's columns
            line = np.nanmean(values, axis=1 - axis)
            even = np.linspace(0, length - 1, steps + 1)
            knots = np.interp(even[1:-1], np.arange(length)[1:-1], line[1:-1])
            sizes = np.diff([0, *knots, length - 1]) * steps / (length - 1)
            assert sizes.max() / sizes.min() < 1.05 * (1 + limit) / (1 - limit)
            expected = np.interp(np.arange(length), even, [0, *knots, length - 1])
            assert np.nanmax(np.abs(line - expected)) < 0.3  # straight between the lines of the grid
    spread = np.nanstd(moves("grid_distortion", steps=steps, limit=limit), axis=0)
    assert np.nanmax(spread) > 3 * np.nanmax(np.nanstd(moves("grid_distortion", steps=steps, limit=0.1), axis=0))
    # A grid of one cell has no line that could move.
    assert np.nanmax(np.abs(moves("grid_distortion", steps=1, limit=limit))) < 0.02


@pytest.mark.parametrize("step", STILL)
def test_no_strength_changes_nothing(step: str) -> None:
    stream = np.random.default_rng(0)
    image, mask = stream.integers(0, 256, (*SHAPE, 3), np.uint8), stream.integers(0, 2, SHAPE, np.uint8)
    for got in augmented(step, image, mask, 5, **STILL[step]):
        np.testing.assert_array_equal(got[0], image)
        np.testing.assert_array_equal(got[1], mask)


@pytest.mark.parametrize("step", GEOMETRIC)
def test_masks_move_with_the_image_and_stay_binary(step: str) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    cv2.circle(mask, (60, 40), 25, 1, -1)
    mask[70:, :30] = 1
    image = np.repeat(mask[:, :, None] * np.uint16(65535), 5, axis=2)
    changed = 0
    for moved, target in augmented(step, image, mask, 25, **GEOMETRIC[step]):
        assert target.dtype == np.uint8 and set(np.unique(target)) <= {0, 1}
        clear = np.abs(moved / 65535 - 0.5) > 0.03  # OpenCV interpolates uint8 in whole shares of 1/32
        np.testing.assert_array_equal((moved > 32767)[clear], np.repeat(target[:, :, None], 5, axis=2)[clear])
        assert clear.mean() > 0.97
        changed += bool((target != mask).any())
    assert changed > 15


@pytest.mark.parametrize("step", GEOMETRIC)
def test_the_outside_is_reflected(step: str) -> None:
    image, mask = np.full((*SHAPE, 3), 200, np.uint8), np.ones(SHAPE, np.uint8)
    for changed, moved in augmented(step, image, mask, 10, **GEOMETRIC[step]):
        assert (changed == 200).all() and (moved == 1).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_and_16_bits(channels: int, dtype: type) -> None:
    stream = np.random.default_rng(0)
    image = stream.integers(0, np.iinfo(dtype).max, (40, 50, channels), dtype, endpoint=True)
    mask = stream.integers(0, 2, (40, 50), np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    for step in AUGMENTATIONS:
        for changed, moved in augmented(step, image, mask, 3):
            assert changed.shape == image.shape and changed.dtype == dtype, step
            assert moved.shape == mask.shape and moved.dtype == np.uint8, step


@pytest.mark.parametrize("step", ["invert", "blur", "noise", "cutout", "brightness", "contrast", "gamma"])
def test_masks_are_left_alone_by_steps_that_move_nothing(step: str) -> None:
    stream = np.random.default_rng(0)
    image, mask = stream.integers(0, 256, (*SHAPE, 3), np.uint8), stream.integers(0, 2, SHAPE, np.uint8)
    for changed, same in augmented(step, image, mask, 5):
        np.testing.assert_array_equal(same, mask)
        assert (changed != image).any()


def test_invert_takes_from_the_full_range() -> None:
    for dtype in (np.uint8, np.uint16):
        full = np.iinfo(dtype).max
        image = np.random.default_rng(0).integers(0, full, (20, 30, 3), dtype, endpoint=True)
        (changed, _), *_ = augmented("invert", image, np.zeros((20, 30), np.uint8), 1)
        np.testing.assert_array_equal(changed, full - image)


def test_blur_spreads_a_point_by_its_deviation() -> None:
    image = np.zeros((41, 41, 1), np.uint16)
    image[20, 20] = 65535
    deviations = []
    for blurred, _ in augmented("blur", image, np.zeros((41, 41), np.uint8), 60, sigma=2.0):
        y, x = np.mgrid[-20:21, -20:21]
        weights = blurred[:, :, 0] / blurred.sum()
        assert float(blurred.sum()) == pytest.approx(65535, rel=0.01)
        assert (weights * x**2).sum() == pytest.approx((weights * y**2).sum(), rel=0.01)
        deviations.append((weights * x**2).sum() ** 0.5)
    assert max(deviations) < 2.02 and max(deviations) > 1.8
    assert min(deviations) < 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_noise_is_gaussian_and_the_same_in_all_channels(dtype: type) -> None:
    full = np.iinfo(dtype).max
    image = np.full((64, 64, 3), full // 2, dtype)
    found = np.stack([a for a, _ in augmented("noise", image, np.zeros((64, 64), np.uint8), 60, sigma=0.1)])
    noise = (found.astype(float) - full // 2) / full
    np.testing.assert_array_equal(noise[..., :1].repeat(3, axis=3), noise)
    planes = noise[..., 0]
    deviations = planes.std(axis=(1, 2))
    assert 0.09 < deviations.max() < 0.105 and deviations.min() < 0.02
    standard = planes[deviations > 0.03] / deviations[deviations > 0.03, None, None]
    # Not shifted by rounding, as heavy in the tails as a Gaussian, and white.
    assert abs(standard.mean()) < 0.01
    assert (standard**4).mean() == pytest.approx(3, abs=0.1)
    assert abs((standard[:, :, 1:] * standard[:, :, :-1]).mean()) < 0.01
    assert abs((standard[1:] * standard[:-1]).mean()) < 0.01  # another for every sample
    edge = np.full((64, 64, 1), full, dtype)
    (bright, _), *_ = augmented("noise", edge, np.zeros((64, 64), np.uint8), 1, sigma=0.5)
    assert bright.max() == full and bright.min() > full // 8 and (bright == full).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("fill", "value"), [(0.0, 0), (1.0, 255), (0.4, 102), (None, None)])
def test_cutout_fills_one_hole_of_its_size(fill: float | None, value: int | None) -> None:
    stream = np.random.default_rng(0)
    image = stream.integers(110, 250, (*SHAPE, 3), np.uint8)
    corners = []
    for cut, _ in augmented("cutout", image, np.zeros(SHAPE, np.uint8), 80, size=0.3, fill=fill):
        filled = np.rint(image.mean(axis=(0, 1))) if value is None else np.full(3, value)
        changed = (cut != image).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        hole = cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert hole.shape[:2] == (27, 36) and (hole == filled).all()
        assert (~changed).sum() >= changed.size - 27 * 36
        corners.append((rows[0], columns[0]))
    corner = np.array(corners)
    assert (corner.min(axis=0) <= 3).all() and (corner.max(axis=0) >= np.array([60, 81])).all()


def test_cutout_makes_as_many_holes_as_asked_for() -> None:
    image = np.full((*SHAPE, 1), 30000, np.uint16)
    mask = np.ones(SHAPE, np.uint8)
    counts = []
    for cut, same in augmented("cutout", image, mask, 40, holes=4, size=0.05, fill=1.0):
        assert set(np.unique(cut)) == {30000, 65535}
        np.testing.assert_array_equal(same, mask)
        counts.append(cv2.connectedComponents((cut == 65535).view(np.uint8)[:, :, 0])[0] - 1)
    assert max(counts) == 4 and np.mean(counts) > 3
