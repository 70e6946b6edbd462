"""Views: windows of an image, their sizing and symmetries, against padding, cropping and resizing the whole image."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.geometry.tiles import GRID, axis, tile_starts
from segfold.data.geometry.view import Pose, Tiling, ViewPlan, box_views, pose_of, tile_views
from segfold.data.geometry.window import Window, cut, places
from segfold.errors import SegfoldError
from segfold.models import margin_of

RNG = np.random.default_rng(0)
MODES: dict[Any, dict[str, Any]] = {
    "reflect": {"mode": "reflect"},
    "edge": {"mode": "edge"},
    "zero": {"mode": "constant"},
}


class Reader:
    """An image that counts the pixels that are read of it."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.shape, self.dtype, self.read = image, image.shape, image.dtype, 0

    def window(self, window: Window) -> np.ndarray:
        assert window == window.inside((self.shape[0], self.shape[1]))
        self.read += window.height * window.width
        return self.image[window.slices]


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize(
    "window",
    [
        Window(-9, 3, 40, 7),
        Window(2, 2, 5, 4),
        Window(10, 12, 30, 30),
        Window(0, 0, 11, 14),
        Window(-3, 8, 12, 9),
        Window(2, -6, 14, 13),
        Window(-10, -13, 31, 40),
        Window(-8, 3, 10, 4),
    ],
)
def test_a_window_is_cut_as_from_the_whole_image_with_its_border(border: Any, window: Window) -> None:
    image = RNG.integers(0, 1000, (11, 14, 2)).astype(np.uint16)
    padded = np.pad(image, ((60, 60), (60, 60), (0, 0)), **MODES[border])
    wanted = padded[window.moved(60, 60).slices]
    for dtype in (np.uint16, np.float32, np.int64):
        np.testing.assert_array_equal(cut(image.astype(dtype), window, border), wanted)
    for part in (np.s_[:, :, 0], np.s_[:, :, :1]):
        np.testing.assert_array_equal(cut(image[part], window, border), wanted[part])
    np.testing.assert_array_equal(cut(Reader(image), window, border), wanted)  # type: ignore[arg-type]


def test_a_fill_lies_beyond_the_image_and_nowhere_else() -> None:
    found = cut(np.ones((4, 5), np.uint8), Window(-1, -2, 6, 9), fill=255)
    wanted = np.full((6, 9), 255)
    wanted[1:5, 2:7] = 1
    np.testing.assert_array_equal(found, wanted)
    assert (cut(np.ones((4, 5), np.uint8), Window(20, 20, 2, 2), fill=7) == 7).all()


def test_no_more_is_read_than_the_window_and_what_is_mirrored() -> None:
    reader = Reader(np.zeros((1000, 1000, 1), np.uint8))
    cut(reader, Window(-5, 500, 30, 30))  # type: ignore[arg-type]
    assert reader.read == 25 * 30


def test_places_of_an_axis_of_one_pixel() -> None:
    assert places(-3, 7, 1, "reflect").tolist() == [0] * 7


@pytest.mark.parametrize("image", [100, 130, 512, 701, 4096])
@pytest.mark.parametrize(("tile", "overlap"), [(128, 0), (128, 32), (96, 95), (64, 50)])
@pytest.mark.parametrize("grid", [1, 32])
def test_tiles_cover_an_axis_and_overlap_enough(image: int, tile: int, overlap: int, grid: int) -> None:
    starts = tile_starts(image, tile, overlap, grid)
    if image <= tile:
        assert starts == (-((tile - image) // 2),)
        return
    assert starts[0] == 0
    grid = grid if tile - overlap >= grid else 1
    assert image <= starts[-1] + tile < image + grid
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= tile - overlap).all()
    assert all(start % grid == 0 for start in starts)
    assert steps.max() - steps.min() <= grid


def test_no_more_tiles_than_are_needed() -> None:
    assert tile_starts(4096, 512, 0, 32) == tuple(range(0, 4096, 512))
    assert len(tile_starts(1000, 400, 100)) == 3
    assert tile_starts(100, 40, 8) == (0, 30, 60)


@pytest.mark.parametrize("blend", ["linear", "gaussian", "flat"])
@pytest.mark.parametrize("overlap", [0, 1, 13, 60])
@pytest.mark.parametrize("shape", [(97, 64), (200, 333), (64, 500)])
def test_weights_of_tiles_add_up_to_one_everywhere(blend: Any, overlap: int, shape: tuple[int, int]) -> None:
    plan = ViewPlan(Sizing(64, 64), ("identity", "hflip", "scale1.6"), Tiling((64, 64), overlap, blend))
    total = np.zeros(shape)
    for view in plan.views(shape):
        down, across = (
            np.ones(length) if axis is None else axis for length, axis in zip(view.window.shape, view.weights)
        )
        inside = view.window.inside(shape)
        part = np.outer(down, across)[inside.moved(-view.window.top, -view.window.left).slices]
        total[inside.slices] += view.share * part
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_linear_blend_falls_in_a_straight_line_over_the_overlap() -> None:
    found = axis(16, 10, 4, "linear")
    assert found.starts == (0, 6)
    first = found.weights[0]
    assert first is not None
    np.testing.assert_allclose(first, [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2], atol=1e-6)


def test_a_gaussian_blend_has_an_eighth_of_the_tile_as_deviation() -> None:
    first = axis(96, 64, 32, "gaussian").weights[0]
    assert first is not None
    bell = np.exp(-0.5 * ((np.arange(64) - 31.5) / 8) ** 2)
    np.testing.assert_allclose(first[32:], bell[32:] / (bell[32:] + bell[:32]), atol=1e-6)


def test_tiles_of_a_scale_cover_less_of_the_image() -> None:
    views = tile_views((100, 100), Tiling((64, 64), 0), Sizing(64, 64), 1.25)
    assert {view.window.shape for view in views} == {(51, 51)} and {view.frame for view in views} == {(64, 64)}
    image = RNG.random((100, 100, 1)).astype(np.float32)
    seen = views[0].sizing.image(views[0].read(image))
    small = torch.from_numpy(image[:51, :51].transpose(2, 0, 1))[None]
    wanted = torch.nn.functional.interpolate(small, (64, 64), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(seen[..., 0], wanted[0, 0].numpy(), atol=1e-5)


def test_tiles_begin_on_the_grid_of_the_network() -> None:
    views = tile_views((700, 1300), Tiling((256, 256), 64), Sizing(128, 128))
    assert {view.window.top % (2 * GRID) for view in views} == {0} == {view.window.left % (2 * GRID) for view in views}


def test_a_margin_holds_the_pixels_around_a_tile() -> None:
    image = RNG.integers(0, 255, (200, 180, 3)).astype(np.uint8)
    sizing = Sizing(96, 96, margin=16)
    padded = np.pad(image, ((99, 99), (99, 99), (0, 0)), mode="reflect")
    for view in tile_views((200, 180), Tiling((96, 96), 8), sizing):
        assert view.window.shape == (64, 64) == view.sizing.given
        wanted = padded[view.window.grown(16).moved(99, 99).slices]
        np.testing.assert_array_equal(view.sizing.image(view.read(image), around=view.around), wanted)


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_a_margin_around_a_whole_image_goes_on_as_its_border(fit: Any) -> None:
    image = RNG.integers(0, 255, (40, 50, 1)).astype(np.uint8)
    plain, framed = Sizing(64, 64, fit), Sizing(84, 84, fit, margin=10)
    assert framed.given == (64, 64)
    inner = plain.image(image)
    np.testing.assert_array_equal(framed.image(image)[10:-10, 10:-10], inner)
    if fit == "resize":
        np.testing.assert_array_equal(framed.image(image), np.pad(inner, ((10, 10), (10, 10), (0, 0)), mode="reflect"))
    mask = (image[..., 0] > 99).astype(np.uint8)
    np.testing.assert_array_equal(framed.mask(mask), plain.mask(mask))
    np.testing.assert_array_equal(framed.valid((40, 50)), plain.valid((40, 50)))
    planes = RNG.random((2, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(framed.restore(planes, (40, 50)), plain.restore(planes, (40, 50)))


def test_a_scale_stretches_an_image_before_it_is_padded() -> None:
    image = RNG.integers(0, 255, (40, 30, 3)).astype(np.uint8)
    half = Sizing(32, 32, scale=(0.5, 0.5))
    assert half.window((40, 30)) == Window(6, 8, 20, 15)
    np.testing.assert_array_equal(half.image(image), Sizing(32, 32, resize=(20, 15)).image(image))
    larger = Sizing(48, 48).larger(1.5)
    assert larger.window((40, 30)) == Window(6, 13, 60, 45) and (larger.height, larger.width) == (72, 72)
    assert Sizing(48, 48, margin=4).larger(1.5).given == (60, 60)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_symmetries_of_arrays_and_windows_are_those_of_batches(name: str) -> None:
    transform = TRANSFORMS[name]
    image = RNG.integers(0, 255, (7, 11, 2)).astype(np.int64)
    wanted = transform.forward(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(transform.image(image), wanted)
    assert transform.shape((7, 11)) == wanted.shape[:2]
    window = Window(1, 4, 3, 5)
    turned = transform.window(window, (7, 11))
    np.testing.assert_array_equal(wanted[turned.slices], transform.image(image[window.slices]))


def test_entries_of_test_time_augmentation_are_read_as_they_are_named() -> None:
    for pose in (Pose("hflip", 1.0), Pose("identity", 1.25), Pose("rot90", 0.8)):
        assert pose_of(pose.name) == pose
    assert pose_of(Pose("identity", 1 / 3).name).scale == pytest.approx(1 / 3, abs=1e-11)
    assert Pose("identity", 1.25).name == "scale1.25" and Pose("rot90", 0.8).name == "rot90-scale0.8"
    for bad in ("flip", "scale0", "flip-scale2", "scale-1"):
        with pytest.raises(ValueError, match="expected one of"):
            pose_of(bad)


def test_views_of_an_image_come_from_its_top_to_its_bottom_with_equal_parts_for_each_entry() -> None:
    plan = ViewPlan(Sizing(64, 64), ("identity", "hflip", "scale2"), Tiling((64, 64), 16))
    views = plan.views((150, 90))
    assert [view.window.top for view in views] == sorted(view.window.top for view in views)
    assert {(view.symmetries, round(view.share, 9)) for view in views} == {
        (("identity", "hflip"), round(2 / 3, 9)),
        (("identity",), round(1 / 3, 9)),
    }
    assert plan.load((150, 90)) == len(views)
    whole = replace(plan, tiles=None)
    assert [view.frame for view in whole.views((60, 60))] == [(64, 64), (128, 128)] == list(whole.frames)
    assert whole.load((60, 60)) == 1


def test_boxes_are_stretched_to_the_input() -> None:
    image = RNG.integers(0, 255, (90, 80, 3)).astype(np.uint8)
    (view,) = box_views([Window(10, 20, 30, 40)], Sizing(64, 48))
    wanted = Sizing(64, 48, "resize").image(image[10:40, 20:60])
    np.testing.assert_array_equal(view.sizing.image(view.read(image)), wanted)
    assert view.restored(np.zeros((2, 64, 48), np.float32)).shape == (2, 30, 40)


def test_tiles_smaller_than_their_overlap_are_refused() -> None:
    with pytest.raises(SegfoldError, match=r"overlap by 64: set predict\.tiles\.overlap below 44"):
        tile_views((100, 100), Tiling((64, 64), 64), Sizing(64, 64, margin=10))


def test_a_margin_needs_one_scale() -> None:
    with pytest.raises(SegfoldError, match="expected one scale"):
        tile_views((100, 100), Tiling((64, 128), 8), Sizing(64, 64, margin=8))
    with pytest.raises(SegfoldError, match="leaves nothing inside a margin"):
        Sizing(64, 64, margin=32)


def test_models_without_a_margin_have_none() -> None:
    assert margin_of("unet", {}) == 0
