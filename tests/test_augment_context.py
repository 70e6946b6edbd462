"""A crop is augmented as the whole image would be, and then cropped: what moves in are the image's own pixels."""

import random
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from scipy import ndimage

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.augment.geometric import affine
from segfold.data.geometry.window import Window, cut
from segfold.data.keys import sample_key
from segfold.tasks import FOREGROUND, Task, make_task

TASKS = [make_task("binary", ["disc"]), make_task("multiclass", list("abcd")), make_task("multilabel", list("abc"))]
WIDE = {"shift": 0.2, "scale": 0.2, "rotate": 40.0, "shear": 8.0, "p": 1.0}
MOVING: dict[str, dict[str, float]] = {
    "affine": WIDE,
    "shear": {"limit": 0.4, "p": 1.0},
    "crop": {"scale": 0.3, "p": 1.0},
    "elastic": {"limit": 0.2, "smooth": 0.2, "p": 1.0},
    "grid_distortion": {"limit": 0.6, "p": 1.0},
    "elastic_grid": {"sigma": 12.0, "p": 1.0},
}
INSIDE, CORNER = Window(150, 180, 70, 90), Window(0, 230, 70, 90)


def picture(task: Task = FOREGROUND, shape: tuple[int, int] = (320, 320)) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image and a mask of smooth blobs, class 0 among them."""
    stream = np.random.default_rng(0)
    noise = cv2.GaussianBlur(stream.normal(size=(*shape, 3)), (0, 0), 6)
    image = np.interp(noise, (noise.min(), noise.max()), (0, 255)).astype(np.uint8)
    planes = np.stack([cv2.GaussianBlur(stream.normal(size=shape), (0, 0), 8) for _ in task.classes])
    if task.exclusive:
        return image, planes.argmax(axis=0).astype(np.uint8)
    return image, np.asarray(task.mask(planes > 0))


def read(
    augmenter: Augmenter, image: np.ndarray, mask: np.ndarray, window: Window, task: Task = FOREGROUND, more: int = 0
) -> Any:
    """The window and its context, as arguments of an augmenter."""
    rows, columns = (around + more for around in augmenter.context(window.shape))
    wider = window.grown(rows, columns)
    return cut(image, wider), cut(mask, wider, "reflect", task.fill), (rows, columns)


def augmented(augmenter: Augmenter, index: int, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    image, mask, context = arguments
    return augmenter(image, mask, 0, index, context)


def matrices(step: str, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """The matrix of each of 12 samples of seed 5, in coordinates of a window of this shape."""
    for index in range(12):
        key = sample_key("augment", 5, 0, index)
        stream = random.Random(key)
        if step == "shear":
            stream.random()
            move = stream.uniform(-0.4, 0.4) * shape[1]
            yield np.array([[1, -2 * move / shape[0], move * (1 - 1 / shape[0])], [0, 1, 0], [0, 0, 1]])
            continue
        drawn = affine(**WIDE)
        drawn.set_random_state(np.random.default_rng(key), stream)
        drawn(image=np.zeros((*shape, 3), np.uint8), mask=np.zeros(shape, np.uint8))
        yield drawn.get_applied_params()["matrix"]


@pytest.mark.parametrize("window", [INSIDE, CORNER], ids=["inside", "corner"])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("step", ["affine", "shear"])
def test_a_crop_is_the_whole_image_warped_and_cropped(step: str, task: Task, window: Window) -> None:
    image, mask = picture(task)
    augmenter = Augmenter({step: MOVING[step]}, 5, task)
    there = np.array([[1, 0, window.left], [0, 1, window.top], [0, 0, 1]], float)
    beyond = 0
    for index, matrix in enumerate(matrices(step, window.shape)):
        changed, moved = augmented(augmenter, index, *read(augmenter, image, mask, window, task))
        assert changed.shape[:2] == moved.shape == window.shape
        whole = (there @ matrix @ np.linalg.inv(there))[:2]
        size = image.shape[1::-1]
        wanted = cv2.warpAffine(image, whole, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        differing = np.abs(changed.astype(int) - wanted[window.slices])
        assert differing.max() <= 2
        if task.fill is None:
            planes = task.planes(mask).astype(np.uint8)
            warped = [
                cv2.warpAffine(plane, whole, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
                for plane in planes
            ]
            target = task.mask(np.stack(warped))
        else:
            target = cv2.warpAffine(
                mask,
                whole,
                size,
                flags=cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=task.fill,
            )
            valid = target[window.slices] != task.fill
            assert (valid != task.valid(moved)).mean() < 2e-3
            beyond += (~valid).sum()
        assert (moved != target[window.slices]).mean() < 5e-3
    if task.fill is not None:
        assert beyond == 0 if window is INSIDE else beyond > 500


@pytest.mark.parametrize("step", MOVING)
def test_pixels_come_from_where_they_would_without_context(step: str) -> None:
    """Told by two images that hold columns and rows; inside, where both have them, and with the pixels that belong there."""
    image, mask = picture()
    y, x = (grid.astype(np.uint16) * 128 for grid in np.mgrid[:320, :320])
    grids = np.dstack([x, y])
    augmenter = Augmenter({step: MOVING[step]}, 5)
    outside = 0
    for index in range(8):
        changed, _ = augmented(augmenter, index, *read(augmenter, image, mask, INSIDE))
        places, _ = augmented(augmenter, index, *read(augmenter, grids, mask, INSIDE))
        alone, _ = augmenter(grids[INSIDE.slices], mask[INSIDE.slices], 0, index)
        columns, rows = places[:, :, 0] / 128, places[:, :, 1] / 128
        inside = (rows > INSIDE.top + 1) & (rows < INSIDE.top + 68) & (columns > INSIDE.left + 1)
        inside &= columns < INSIDE.left + 88
        assert np.abs(places.astype(int) - alone)[inside].max() <= 128 * 0.06
        outside += (~inside).sum()
        for channel in range(3):
            wanted = ndimage.map_coordinates(image[:, :, channel].astype(float), [rows, columns], order=1)
            assert np.abs(changed[:, :, channel] - wanted).max() <= 2
    assert outside > 200


@pytest.mark.parametrize("step", [*MOVING, "all"])
def test_the_context_is_enough(step: str) -> None:
    """With more of it nothing changes, and a class mask deep inside an image gets no pixel that does not count."""
    task = TASKS[1]
    image, mask = picture(task, (900, 900))
    steps = {**MOVING, "shear": {"p": 1.0}, "affine": {"shift": 0.1, "rotate": 10.0, "p": 1.0}}
    augmenter = Augmenter(steps if step == "all" else {step: MOVING[step]}, 1, task)
    window = Window(410, 400, 70, 90)
    rows, columns = augmenter.context(window.shape)
    assert 0 <= rows <= 90 and 0 <= columns <= 90
    for index in range(40):
        changed, moved = augmented(augmenter, index, *read(augmenter, image, mask, window, task))
        assert np.asarray(task.valid(moved)).all()
        wider, same = augmented(augmenter, index, *read(augmenter, image, mask, window, task, more=40))
        assert np.abs(changed.astype(int) - wider).max() <= 3
        assert (moved != same).mean() < 5e-3


@pytest.mark.parametrize("step", [name for name in AUGMENTATIONS if name not in MOVING])
def test_other_steps_need_none_and_are_those_of_the_window(step: str) -> None:
    image, mask = picture()
    augmenter = Augmenter({step: {"p": 1.0}}, 2)
    assert augmenter.context(INSIDE.shape) == (0, 0)
    for index in range(3):
        wanted = augmenter(image[INSIDE.slices], mask[INSIDE.slices], 0, index)
        found = augmented(augmenter, index, *read(augmenter, image, mask, INSIDE, more=20))
        if step in ("blur", "noise"):  # which have pixels around the window to look at, and to draw for
            assert found[0].shape == wanted[0].shape and (found[0] != image[INSIDE.slices]).any()
            continue
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def test_no_step_reads_more_than_the_window_on_each_side() -> None:
    for settings in ({"scale": 0.9}, {"shear": 45.0}, {"rotate": 180.0, "shift": 1.0}):
        rows, columns = Augmenter({"affine": {"p": 1.0, **settings}}, 0).context((100, 60))
        assert (rows, columns) == (100, 100)
    assert Augmenter({"affine": {"p": 0.0}}, 0).context((100, 60)) == (0, 0)
    rows, columns = Augmenter({"affine": {"shift": 0.1, "scale": 0.0, "rotate": 0.0}}, 0).context((100, 60))
    assert (rows, columns) == (11, 7)
