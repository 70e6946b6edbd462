"""Boxes that a stage draws from: their windows, which proposals are among them, and how likely each is drawn."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segfold.data.boxes import BoxedObjects, TrainingBoxes, intersections_over_unions, object_boxes, proposed_boxes
from segfold.data.geometry.window import Window
from segfold.data.images import ImageSet
from segfold.data.objects import ObjectBoxes
from segfold.tasks import Multiclass
from small_images import image_set, store

TASK = Multiclass(("none", "cat", "dog"), background=0)


def pictured() -> ImageSet:
    """A cat and a dog, three dogs, nothing."""
    masks = np.zeros((3, 60, 80), np.uint8)
    masks[0, 10:30, 10:30], masks[0, 5:55, 50:60] = 1, 2
    masks[1, :10, :10], masks[1, 30:40, 30:45], masks[1, 50:, 70:] = 2, 2, 2
    return replace(image_set(3, (60, 80), task=TASK), masks=store(list(masks), masks=True), areas=None)


def found() -> ObjectBoxes:
    return ObjectBoxes(pictured(), np.arange(3))


def boxes_of(boxed: BoxedObjects, **changes: Any) -> TrainingBoxes:
    given = {"alone": False, "scale": 1.2, "part": (1.0, 1.0), "images": np.zeros(0, np.int64), **changes}
    return TrainingBoxes(boxed, found(), TASK, shapes=pictured().images.shapes, **given)


def test_a_box_keeps_its_centre() -> None:
    """A-DN-7: (x, y, w, h) = (10, 10, 20, 20) by 1.2 is (8, 8, 24, 24)."""
    boxes, stream = boxes_of(object_boxes(found())), random.Random(0)
    assert boxes.window(0, stream) == Window(8, 8, 24, 24)
    assert boxes.window(1, stream) == Window(0, 49, 60, 12)
    assert boxes.window(2, stream) == Window(-1, -1, 12, 12)  # beyond the image
    assert boxes_of(boxes.boxed, scale=1.0).window(1, stream) == Window(5, 50, 50, 10)


def test_of_a_box_a_part_is_seen_anywhere_in_it() -> None:
    boxes = boxes_of(object_boxes(found()), part=(224 / 250, 0.5), images=np.array([2]))
    stream = random.Random(0)
    drawn = [boxes.window(0, stream) for _ in range(2000)]
    assert {window.shape for window in drawn} == {(round(24 * 224 / 250), 12)} == {(22, 12)}
    tops, lefts = (np.array([getattr(window, name) for window in drawn]) for name in ("top", "left"))
    assert set(tops) == {8, 9, 10} and set(lefts) == set(range(8, 21))  # every place inside 8…32
    assert all(600 < np.count_nonzero(tops == top) < 740 for top in (8, 9, 10))
    assert boxes.window(5, stream) == Window(0, 0, 60, 80)  # a whole image is seen whole


def test_intersections_over_unions_are_those_of_pixels() -> None:
    stream = np.random.default_rng(0)
    one, other = (np.c_[stream.integers(0, 20, (n, 2)), stream.integers(1, 20, (n, 2))] for n in (30, 20))
    planes = [np.zeros((len(each), 40, 40), bool) for each in (one, other)]
    for boxes, plane in zip((one, other), planes):
        for box, pixels in zip(boxes.tolist(), plane):
            pixels[Window(*box).slices] = True
    shared = (planes[0][:, None] & planes[1][None]).sum(axis=(2, 3))
    united = (planes[0][:, None] | planes[1][None]).sum(axis=(2, 3))
    np.testing.assert_allclose(intersections_over_unions(one, other), shared / united, rtol=1e-12)


def test_proposals_that_overlap_an_object_are_kept_with_the_one_that_they_overlap_most() -> None:
    # Half of the cat, a third of it, the whole image; and in the second image two boxes of the second dog.
    proposals = {
        0: np.array([[10, 10, 20, 10], [10, 10, 20, 7], [0, 0, 60, 80], [5, 50, 50, 10]], np.int32),
        1: np.array([[29, 31, 10, 15], [30, 30, 10, 15]], np.int32),
    }
    asked: list[int] = []

    def of(row: int) -> Any:
        asked.append(row)
        return proposals[row]

    boxed = proposed_boxes(found(), of, 0.5)
    assert asked == [0, 1], "an image without objects is not searched"
    assert boxed.rows.tolist() == [0, 0, 1, 1] and boxed.objects.tolist() == [0, 1, 3, 3]
    assert boxed.boxes.tolist() == [*proposals[0][[0, 3]].tolist(), *proposals[1].tolist()]
    assert boxes_of(boxed).classes.tolist() == [1, 2, 2, 2]
    assert len(proposed_boxes(found(), of, 1.0).rows) == 2
    assert len(proposed_boxes(found(), lambda row: proposals[0][2:3], 0.9).rows) == 0


def test_how_likely_boxes_of_a_class_are_drawn() -> None:
    boxes = boxes_of(object_boxes(found()))
    assert boxes.classes.tolist() == [1, 2, 2, 2, 2]
    np.testing.assert_allclose(boxes.chances(0, 0, np.zeros(0)), 0.2)
    np.testing.assert_allclose(boxes.chances(1, 0, np.zeros(0)), [1 / 2, *[1 / 8] * 4])
    half = boxes.chances(0.5, 0, np.zeros(0))
    np.testing.assert_allclose([half[0] / half[1], half.sum()], [2, 1])


def test_whole_images_come_to_their_share() -> None:
    boxes = boxes_of(object_boxes(found()), images=np.array([0, 2]))
    assert boxes.rows.tolist() == [0, 0, 1, 1, 1, 0, 2]
    chances = boxes.chances(1, 0.25, np.array([3.0, 1.0]))
    np.testing.assert_allclose(chances, [*(0.75 * np.array([1 / 2, *[1 / 8] * 4])), 0.1875, 0.0625])
    mask = np.full((60, 80), 1, np.uint8)
    alone = replace(boxes, alone=True)
    assert alone.mask(6, mask, Window(0, 0, 60, 80)) is mask
    assert (alone.mask(0, mask, Window(0, 0, 60, 80)) == 1).sum() == 400


@pytest.mark.parametrize("position", [0, 1])
def test_what_counts_in_a_box_of_an_object(position: int) -> None:
    images, window = pictured(), Window(0, 5, 60, 70)
    assert images.masks is not None
    mask = images.masks[0][window.slices].copy()
    mask[20:22] = 255
    counted = boxes_of(object_boxes(found()), alone=True).mask(position, mask, window)
    mine = images.masks[0][window.slices] == position + 1
    np.testing.assert_array_equal(counted[mine], position + 1)
    np.testing.assert_array_equal(counted[~mine], np.where(mask == 255, 255, 0)[~mine])
