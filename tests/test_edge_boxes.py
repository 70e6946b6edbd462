"""EdgeBoxes on thinned gradients: what is found, in images of every kind, and what each setting does."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

from segfold.data import edge_boxes as module
from segfold.data.edge_boxes import edge_boxes, edges_of
from segfold.data.geometry.window import Window
from segfold.errors import SegfoldError
from segfold.settings import Proposals

CIRCLE, RECTANGLE = (70, 60, 101, 101), (60, 200, 121, 91)
SHAPE = (240, 320)


def two_objects(dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    """A bright disc and a dark rectangle on grey."""
    image = np.full((*SHAPE, channels), 90, np.uint8)
    planes = [np.ascontiguousarray(image[:, :, channel]) for channel in range(channels)]
    for plane in planes:
        cv2.circle(plane, (110, 120), 50, 200, -1)
        cv2.rectangle(plane, (200, 60), (290, 180), 20, -1)
    return np.stack(planes, axis=2).astype(dtype)


def overlaps(boxes: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Intersection over union of each box with one, by masks."""
    true = np.zeros(SHAPE, bool)
    true[Window(*box).slices] = True
    found = []
    for each in boxes:
        mask = np.zeros(SHAPE, bool)
        mask[Window(*map(int, each)).slices] = True
        found.append((mask & true).sum() / (mask | true).sum())
    return np.array(found)


def find(image: np.ndarray, **settings: float) -> tuple[np.ndarray, np.ndarray]:
    return edge_boxes(image, Proposals.model_validate(settings).search)


def check(boxes: np.ndarray, scores: np.ndarray, shape: tuple[int, int]) -> None:
    assert boxes.dtype == np.int32 and scores.dtype == np.float32
    assert boxes.shape == (len(scores), 4) and len(boxes)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= shape).all()
    assert np.isfinite(scores).all() and (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_both_objects_are_found_among_the_first(dtype: type, channels: int) -> None:
    boxes, scores = find(two_objects(dtype, channels))
    check(boxes, scores, SHAPE)
    assert overlaps(boxes[:50], CIRCLE).max() > 0.9
    assert overlaps(boxes[:50], RECTANGLE).max() > 0.9


def test_thick_edges_lose_the_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_thinned", lambda steep, across, down: steep)
    assert overlaps(find(two_objects())[0], CIRCLE).max() < 0.9


def test_an_object_of_one_channel_is_found_at_any_brightness() -> None:
    image = np.zeros((*SHAPE, 4), np.uint16)
    image[:, :, 2] = two_objects(channels=1)[:, :, 0]
    for scale, offset in ((1, 0), (200, 5000)):
        boxes, _ = find(image * np.uint16(scale) + np.uint16(offset))
        assert overlaps(boxes, CIRCLE).max() > 0.9


@pytest.mark.parametrize("axis", [0, 1])
def test_boxes_of_a_flipped_image_are_nearly_those_flipped(axis: int) -> None:
    boxes, _ = find(two_objects())
    flipped, _ = find(np.flip(two_objects(), axis))
    back = flipped.copy()
    back[:, axis] = SHAPE[axis] - flipped[:, axis] - flipped[:, axis + 2]
    best = [overlaps(back, tuple(box)).max() for box in boxes[:10].tolist()]
    assert np.mean(best) > 0.8
    for box in (CIRCLE, RECTANGLE):
        assert overlaps(back[:50], box).max() > 0.85


def test_an_object_that_is_cut_by_the_border_reaches_it() -> None:
    image = np.zeros((*SHAPE, 1), np.uint8)
    image[:100, 200:] = 200
    assert overlaps(find(image)[0], (0, 200, 100, 120)).max() > 0.9


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (101, 101)])
def test_a_constant_image_gives_the_whole_of_it(value: int, shape: tuple[int, int]) -> None:
    boxes, scores = find(np.full((*shape, 3), value, np.uint8))
    assert boxes.tolist() == [[0, 0, *shape]] and scores.tolist() == [0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (3, 3), (1, 60), (60, 1), (2, 90), (5, 4), (7, 7), (12, 30)])
@pytest.mark.parametrize("area", [0.0, 0.005, 1.0])
def test_small_images_have_boxes_inside(shape: tuple[int, int], area: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    check(*find(image, least_area=area), shape)


def test_what_is_no_number_counts_as_nothing() -> None:
    image = two_objects(np.float32)
    image[5, 5], image[6, 6], image[7, 7] = np.nan, np.inf, -np.inf
    boxes, scores = find(image)
    check(boxes, scores, SHAPE)
    assert overlaps(boxes, CIRCLE).max() > 0.9
    check(*find(two_objects(np.float32) * np.float32(1.7e36) - np.float32(2e38)), SHAPE)


class Banded:
    """An image that counts the most rows that are read of it at once."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.shape, self.most = image, image.shape, 0

    def window(self, window: Window) -> np.ndarray:
        self.most = max(self.most, window.height)
        return self.image[window.slices]


def test_a_large_image_is_searched_small_and_read_by_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = 4
    large = np.ascontiguousarray(two_objects().repeat(scale, axis=0).repeat(scale, axis=1))
    monkeypatch.setattr(module, "_BAND", 1 << 17)
    banded = Banded(large)
    boxes, scores = edge_boxes(banded, Proposals().search)
    check(boxes, scores, (SHAPE[0] * scale, SHAPE[1] * scale))
    assert banded.most <= (1 << 17) / large.shape[1] + scale
    for box in (CIRCLE, RECTANGLE):
        assert overlaps(np.rint(boxes / scale).astype(int), box).max() > 0.9
    np.testing.assert_array_equal(boxes, find(large)[0])


def textured() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (20, 24, 1), np.uint8)
    return cv2.resize(coarse, (120, 100), interpolation=cv2.INTER_CUBIC)[:, :, None]


def test_no_more_are_kept_than_asked_for_and_these_are_the_best() -> None:
    boxes, scores = find(textured())
    assert len(boxes) > 100
    for count in (1, 7, 50):
        few, best = find(textured(), count=count)
        np.testing.assert_array_equal(few, boxes[:count])
        np.testing.assert_array_equal(best, scores[:count])
    assert len(find(textured(), count=30, overlap=1)[0]) == 30


def test_each_setting_acts() -> None:
    boxes, scores = find(textured())
    assert len(find(textured(), step=0.3)[0]) < len(boxes)
    assert len(find(textured(), overlap=0.3)[0]) < len(boxes) < len(find(textured(), overlap=1.0, count=10_000)[0])
    assert len(find(textured(), overlap=0.95, count=3000)[0]) > 2000
    strict = find(textured(), least_score=float(np.median(scores)))[1]
    assert 0 < len(strict) < len(scores) and strict.min() >= np.median(scores)
    large = find(textured(), least_area=0.2)[0]
    assert np.median(large[:, 2:].prod(axis=1)) > np.median(boxes[:, 2:].prod(axis=1))
    sides = [find(textured(), most_aspect=aspect)[0][:, 2:] for aspect in (1.0, 9.0)]
    square, long = (np.mean(each.max(axis=1) / each.min(axis=1)) for each in sides)
    assert square < 1.5 < long


def test_a_search_that_memory_would_not_do_for_is_refused_at_once() -> None:
    with pytest.raises(
        SegfoldError, match=r"in 240×320 pixels would begin with [\d,]+ boxes: .* proposals\.least_area"
    ):
        find(two_objects(), step=0.95, least_area=0, most_aspect=100)


def test_without_contributed_modules_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "ximgproc")
    with pytest.raises(SegfoldError, match=r"has no ximgproc.*pip install.*opencv-contrib-python-headless"):
        find(two_objects())
    assert find(np.zeros((30, 30, 1), np.uint8))[1].tolist() == [0]


def test_threads_find_what_one_finds() -> None:
    images = [np.roll(two_objects(), 20 * shift, axis=1) for shift in range(6)]
    with ThreadPoolExecutor(3) as pool:
        for (boxes, scores), image in zip(pool.map(find, images), images):
            np.testing.assert_array_equal(boxes, find(image)[0])
            np.testing.assert_array_equal(scores, find(image)[1])


def test_where_arrays_lie_in_memory_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    image, sobel = two_objects(), cv2.Sobel
    expected = edges_of(image, Proposals().search)
    for start in range(16):

        def moved(*given: Any, at: int = start) -> np.ndarray:
            gradient = sobel(*given)
            room = np.empty(gradient.size + 32, np.float32)
            first = -room.ctypes.data // 4 % 16 + at  # so many numbers behind a multiple of 64 bytes
            target = room[first : first + gradient.size].reshape(gradient.shape)
            target[...] = gradient
            return target

        monkeypatch.setattr(cv2, "Sobel", moved)
        for found, array in zip(edges_of(image, Proposals().search), expected):
            np.testing.assert_array_equal(found, array)
