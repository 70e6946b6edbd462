"""Samples of boxes: one object apart from all others, what lies beyond the image, augmentation, mixes, gaps."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.boxes import TrainingBoxes, object_boxes
from segfold.data.crops import Crops
from segfold.data.dataset import TrainingSet
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet
from segfold.data.objects import ObjectBoxes
from segfold.losses.gaps import object_gaps
from segfold.resize import stretched, stretched_labels, stretched_mask
from segfold.tasks import OBJECTS, VOID, Binary, Multiclass, Multilabel, Task
from small_images import image_set, same, store

SHAPE = (60, 80)
ABC = ("a", "b", "c")
BACKGROUND, NONE, BITS = Multiclass(ABC, background=0), Multiclass(ABC), Multilabel(ABC)
TASKS: list[Task] = [Binary(("a",)), BACKGROUND, NONE, BITS]
SIZE = Sizing(32, 40, "resize", "zero")
GEOMETRIC = ["hflip", "vflip", "affine", "shear", "crop", "elastic", "grid_distortion", "elastic_grid"]


def pictured(task: Task, seed: int = 0, **changes: Any) -> ImageSet:
    """White images with rectangles of each class, some at an edge."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(3):
        planes = np.zeros((len(task.classes), *SHAPE), bool)
        planes[0] = task.exclusive
        for plane in planes:
            top, left = rng.integers(-5, 40), rng.integers(-5, 60)
            plane[max(top, 0) : top + 25, max(left, 0) : left + 22] = True
        mask = np.asarray(task.mask(planes))
        if task.exclusive:
            mask[:4, 30:50] = VOID
        masks.append(mask)
    images = [np.full((*SHAPE, 1), 255, np.uint8)] * 3
    made = image_set(3, SHAPE, task=task)
    return replace(made, images=store(images), masks=store(masks, masks=True), areas=None, **changes)


def boxes_of(pictures: ImageSet, **changes: Any) -> TrainingBoxes:
    found = ObjectBoxes(pictures, np.arange(len(pictures)), 0.01)
    given = {"alone": True, "scale": 1.2, "part": (1.0, 1.0), "images": np.zeros(0, np.int64), **changes}
    task = pictures.task.with_other() if given["alone"] else pictures.task
    return TrainingBoxes(object_boxes(found), found, task, shapes=pictures.images.shapes, **given)


def samples(
    images: ImageSet, boxes: TrainingBoxes, steps: Any = None, sizing: Sizing = SIZE, **changes: Any
) -> TrainingSet:
    augmenter = None if steps is None else Augmenter(steps, 3, boxes.task)
    return TrainingSet(images, boxes.rows, sizing, augmenter, True, boxes=boxes, **changes)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name}-{task.background}")
def test_samples_are_those_cut_by_hand(task: Task, alone: bool) -> None:
    images = pictured(task)
    assert images.masks is not None
    boxes = boxes_of(images, alone=alone)
    made = samples(images, boxes)
    assert len(made) == len(boxes.rows) >= 3
    for position, row in enumerate(boxes.rows.tolist()):
        sample = made[(0, position, position)]
        window = Window(*boxes.boxed.boxes[position].tolist()).scaled(1.2)
        inside = cut(np.ones(SHAPE, np.uint8), window, fill=0)
        image = stretched(cut(images.images[row], window, "zero"), (32, 40))
        np.testing.assert_array_equal(sample["image"][0].numpy(), image)
        index, mask = int(boxes.classes[position]), images.masks[row]
        mine = cut(boxes.found.alone(position, Window(0, 0, *SHAPE)).astype(np.uint8), window, fill=0)
        valid, found = sample["valid"][0].numpy(), sample["mask"].numpy()
        if task.exclusive:
            seen = cut(mask, window, fill=VOID)
            if alone:
                other = 0 if task.background == 0 else 3
                seen = np.where(seen == VOID, VOID, np.where(mine > 0, index, other)).astype(np.uint8)
            expected = stretched_labels(seen, (32, 40))
            np.testing.assert_array_equal(valid, expected != VOID)
            np.testing.assert_array_equal(found[0][valid], expected[valid])
        else:
            np.testing.assert_array_equal(valid, stretched_labels(inside, (32, 40)) > 0)
            for bit, plane in enumerate(found):
                seen = cut((mask >> bit & 1).astype(np.uint8), window, fill=0)
                if alone:
                    seen = mine if bit == index else np.zeros_like(seen)
                np.testing.assert_array_equal(plane[valid], stretched_mask(seen, (32, 40))[valid])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name}-{task.background}")
def test_a_box_of_an_object_holds_its_class_alone(task: Task) -> None:
    """A-DN-6: only the centred object's class, the background or what stands for it, and void."""
    images = pictured(task)
    boxes = boxes_of(images, part=(0.8, 0.8))
    made = samples(images, boxes, {name: {} for name in AUGMENTATIONS})
    seen = set()
    for epoch in range(3):
        for position in range(len(boxes.rows)):
            sample = made[(epoch, position, position)]
            index, mask = int(boxes.classes[position]), sample["mask"].numpy()
            if task.exclusive:
                nothing = 0 if task.background == 0 else 3
                held = set(np.unique(mask[sample["valid"].numpy()]))
                assert held <= {nothing, index}
                seen |= held
            else:
                assert not np.delete(mask, index, axis=0).any()
                seen |= {index} if mask[index].any() else set()
    assert len(seen) == {BACKGROUND: 3, NONE: 4, BITS: 3}.get(task, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("border", ["zero", "edge"])
@pytest.mark.parametrize("task", TASKS[:2], ids=lambda task: task.name)
@pytest.mark.parametrize("step", GEOMETRIC)
def test_what_lies_beyond_the_image_does_not_count(step: str, task: Task, border: Any) -> None:
    """Of white images with black around them what counts is white, however it was moved, and all that is white counts."""
    images = pictured(task)
    assert images.masks is not None
    masks = [np.where(mask == VOID, 0, mask).astype(np.uint8) for mask in images.masks]
    images = replace(images, masks=store(masks, masks=True), areas=None)
    boxes = boxes_of(images, scale=2.0)
    made = samples(images, boxes, {step: {"p": 1.0}}, replace(SIZE, border=border))
    beyond = 0
    for position in range(len(boxes.rows)):
        sample = made[(0, position, position)]
        image, valid = sample["image"][0].numpy(), sample["valid"][0].numpy()
        if border == "zero":  # only along the edge is it mixed with black
            assert image[valid].min() > 50 and np.median(image[valid]) == 255
            assert valid[image == 255].mean() > 0.99
        else:  # what is made up looks alike
            assert image.min() > 250
        beyond += int((~valid).sum())
    assert beyond > 100


def test_a_box_inside_its_image_counts_whole_whatever_is_drawn() -> None:
    images = pictured(TASKS[0])
    boxes = boxes_of(images, scale=0.3)
    made = samples(images, boxes, {"hflip": {"p": 1.0}, "brightness": {"p": 1.0}})
    assert all(made[(0, position, 0)]["valid"].all() for position in range(len(boxes.rows)))


def test_samples_follow_from_seed_epoch_and_draw_alone() -> None:
    images = pictured(NONE)
    boxes = boxes_of(images, part=(0.5, 0.5), images=np.array([1]))
    steps = {name: {} for name in AUGMENTATIONS}
    made, again = samples(images, boxes, steps, seed=4), samples(images, boxes, steps, seed=4)
    sent = pickle.loads(pickle.dumps(again))
    keys = [(epoch, position, draw) for epoch in (0, 1) for position in range(len(boxes.rows)) for draw in (0, 9)]
    first = {key: made[key] for key in keys}
    assert all(same(sent[key], first[key]) for key in reversed(keys))
    images_seen = [first[key]["mask"].numpy().tobytes() for key in keys]
    assert len(set(images_seen)) > 0.8 * len(keys)
    assert not same(samples(images, boxes, steps, seed=5)[keys[0]], first[keys[0]])


def test_a_whole_image_among_boxes_is_the_image_with_all_that_is_in_it() -> None:
    images = pictured(NONE)
    assert images.masks is not None
    boxes = boxes_of(images, images=np.array([2, 0]), part=(0.5, 0.5))
    sample = samples(images, boxes)[(0, len(boxes.rows) - 2, 0)]
    assert sample["row"] == 2
    expected = stretched_labels(images.masks[2], (32, 40))
    np.testing.assert_array_equal(np.where(sample["valid"][0], sample["mask"][0], VOID), expected)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name}-{task.background}")
@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_boxes_are_mixed_with_boxes(mix: str, task: Task) -> None:
    """The partner is another box: of two boxes, each of one class alone, no third class comes in."""
    images = pictured(task)
    boxes = boxes_of(images)
    made = samples(images, boxes, mix={mix: {"p": 1.0}}, chances=boxes.chances(1, 0, np.zeros(0)))
    mixed = 0
    for draw in range(30):
        sample = made[(0, draw % len(boxes.rows), draw)]
        assert sample["mask"].shape[-2:] == (32, 40) and sample["valid"].dtype == torch.bool
        planes = sample["mask"] if len(sample["mask"]) > 1 else sample["mask"] == torch.arange(4)[:, None, None]
        held = {index for index, plane in enumerate(planes[:3]) if plane[..., sample["valid"][0]].any()}
        nothing = {0} if task == BACKGROUND else set()
        assert len(held - nothing) <= 2
        mixed += len(held - nothing) == 2
    assert mixed > 3 or len(task.classes) == 1


def test_gaps_of_a_box_are_between_the_objects_that_count() -> None:
    objects = np.zeros(SHAPE, np.uint16)
    objects[10:30, 10:30], objects[10:30, 34:60] = 7, 9
    own = store([objects] * 3, masks=True)
    images = replace(
        pictured(Binary(("a",))), masks=store([(objects > 0).astype(np.uint8)] * 3, masks=True), instances=own
    )
    images = replace(images, areas=None)
    for alone in (True, False):
        boxes = boxes_of(images, alone=alone, scale=2.0)
        sample = samples(images, boxes, gaps=True)[(0, 0, 0)]
        window = Window(10, 10, 20, 20).scaled(2.0)
        seen = cut(np.where(objects == 7, objects, 0) if alone else objects, window, fill=0).astype(np.uint16)
        valid = sample["valid"][0].numpy()
        assert valid.any() and not valid.all() if window.inside(SHAPE) != window else valid.all()
        expected = object_gaps(np.where(valid, OBJECTS.resized(seen, (32, 40)), 0))
        np.testing.assert_array_equal(sample["gaps"][0].numpy(), np.where(valid, expected, np.inf))
        assert np.isfinite(expected[valid]).any() != alone


def test_crops_and_boxes_at_once_are_refused() -> None:
    images = pictured(BACKGROUND)
    with pytest.raises(ValueError, match="crops and boxes"):
        samples(images, boxes_of(images), crops=Crops((8, 8)))
