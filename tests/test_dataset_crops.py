"""Samples that are crops: only the window is read, and it is sized, padded and placed as the whole image would be."""

import random
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.crops import Crops
from segfold.data.dataset import TrainingSet
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.window import Window, cut
from segfold.data.images import ImageSet
from segfold.data.keys import sample_key
from segfold.data.places import ClassPlaces
from segfold.data.sampling import EpochSampler
from small_images import image_set, same, store, training_set

STEPS: dict[str, dict[str, float]] = {name: {} for name in AUGMENTATIONS}


def crop_set(images: ImageSet, crops: Crops, **changes: Any) -> TrainingSet:
    return training_set(images, **{"crops": crops, "sizing": Sizing(*crops.shape), **changes})


def drawn(images: ImageSet, crops: Crops, row: int, epoch: int, draw: int) -> Window:
    assert images.masks is not None
    return crops.window(row, images.masks, random.Random(sample_key("crop", 0, epoch, draw)))


def test_a_sample_is_a_window_of_the_image() -> None:
    images = image_set(3, (101, 140))
    assert images.masks is not None
    samples = crop_set(images, Crops((40, 56)))
    places = set()
    for epoch in range(10):
        window = drawn(images, Crops((40, 56)), 1, epoch, 1)
        sample = samples[epoch, 1, 1]
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), images.images[1][window.slices])
        np.testing.assert_array_equal(sample["mask"][0], images.masks[1][window.slices])
        assert sample["valid"].all() and sample["row"] == 1
        places.add(window)
    assert len(places) == 10


def test_a_window_is_stretched_to_the_size() -> None:
    images = image_set(1, (101, 140))
    crops = Crops((60, 90))
    sample = crop_set(images, crops, sizing=Sizing(40, 45, scale=(40 / 60, 45 / 90)))[0, 0, 0]
    part = images.images[0][drawn(images, crops, 0, 0, 0).slices]
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), cv2.resize(part, (45, 40)))
    assert sample["valid"].shape == (1, 40, 45) and sample["valid"].all()


@pytest.mark.parametrize("border", ["reflect", "edge", "zero"])
def test_a_smaller_image_is_padded_and_its_border_does_not_count(border: Any) -> None:
    images = image_set(1, (30, 100))
    assert images.masks is not None
    sizing, crops = Sizing(48, 40, border=border), Crops((48, 40))
    samples = crop_set(images, crops, sizing=sizing, random_offset=True)
    tops = set()
    for epoch in range(30):
        sample, window = samples[epoch, 0, 0], drawn(images, crops, 0, epoch, 0)
        assert window == Window(0, window.left, 30, 40)
        rows = np.flatnonzero(sample["valid"][0].numpy().all(axis=1))
        assert len(rows) == 30 and sample["valid"].sum() == 30 * 40
        tops.add(int(rows[0]))
        part = images.images[0][window.slices]
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), sizing.image(part, (int(rows[0]), 0)))
        np.testing.assert_array_equal(sample["mask"][0, rows], images.masks[0][window.slices])
    assert len(tops) > 8 and tops <= set(range(19))


@pytest.mark.parametrize("border", ["reflect", "edge", "zero"])
def test_what_lies_around_a_window_comes_into_the_margin(border: Any) -> None:
    images = image_set(1, (60, 80))
    assert images.masks is not None
    crops, sizing = Crops((48, 48), around=8), Sizing(48, 48, border=border, margin=8)
    samples = crop_set(images, crops, sizing=sizing)
    for epoch in range(10):
        sample, window = samples[epoch, 0, 0], drawn(images, crops, 0, epoch, 0)
        assert window.shape == (32, 32) and window.inside((60, 80)) == window
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), cut(images.images[0], window.grown(8), border))
        np.testing.assert_array_equal(sample["mask"][0], images.masks[0][window.slices])
        assert sample["valid"].shape == (1, 32, 32)
    tensors = [value for value in samples[0, 0, 0].values() if isinstance(value, torch.Tensor)]
    assert samples.sample_bytes == sum(tensor.nbytes for tensor in tensors)


def test_the_height_of_a_crop_is_that_in_the_whole_image() -> None:
    images = image_set(1, (101, 60))
    crops = Crops((40, 30))
    samples = crop_set(images, crops, channels=("y",))
    for epoch in range(5):
        top = drawn(images, crops, 0, epoch, 0).top
        ramp = np.linspace(0, 255, 101, dtype=np.float32)[top : top + 40]
        np.testing.assert_array_equal(samples[epoch, 0, 0]["image"][0], ramp[:, None].repeat(30, axis=1))


def test_a_crop_is_augmented_with_what_lies_around_it() -> None:
    images = image_set(2, (200, 220))
    assert images.masks is not None
    augmenter, crops = Augmenter({"affine": {"p": 1.0}, "brightness": {}}, 0), Crops((64, 48))
    samples = crop_set(images, crops, augmenter=augmenter)
    context = augmenter.context((64, 48))
    assert min(context) > 10
    for epoch in range(5):
        window = drawn(images, crops, 1, epoch, 7).grown(*context)
        image, mask = augmenter(cut(images.images[1], window), cut(images.masks[1], window), epoch, 7, context)
        sample = samples[epoch, 1, 7]
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), image)
        np.testing.assert_array_equal(sample["mask"][0], mask)


class Watched:
    """Images of which windows are read, and how many pixels of them."""

    def __init__(self, images: Any) -> None:
        self.images, self.shapes, self.dtype, self.pixels = images, images.shapes, images.dtype, 0

    def __getitem__(self, row: int) -> "Reader":
        return Reader(self, row)

    reader = __getitem__


class Reader:
    def __init__(self, watched: Watched, row: int) -> None:
        self.watched, self.row = watched, row
        self.shape, self.dtype = tuple(watched.shapes[row]), watched.dtype

    def window(self, window: Window) -> np.ndarray:
        self.watched.pixels += window.height * window.width
        return self.watched.images[self.row][window.slices]


def test_only_the_window_and_its_context_are_read() -> None:
    plain = image_set(1, (900, 1000))
    watched = Watched(plain.images)
    images = ImageSet(**{**vars(plain), "images": watched})
    for steps, most in (({"hflip": {}, "noise": {}}, 64 * 48), ({"affine": {}}, 110 * 94)):
        augmenter = Augmenter(steps, 0)  # type: ignore[arg-type]
        rows, columns = augmenter.context((64, 48))
        assert (64 + 2 * rows) * (48 + 2 * columns) <= most
        samples = crop_set(images, Crops((64, 48)), augmenter=augmenter)
        for epoch in range(4):
            watched.pixels = 0
            samples[epoch, 0, 0]
            assert 64 * 48 <= watched.pixels <= most


def test_crops_do_not_depend_on_workers_and_differ_within_an_epoch() -> None:
    images = image_set(4, (101, 120))
    assert images.masks is not None
    rows = np.repeat(np.arange(4), 6)
    places = ClassPlaces(images.masks, rows, images.task)
    crops = Crops((40, 48), focus=0.5, classes=(0,), places=places)
    samples = crop_set(
        images, crops, rows=rows, augmenter=Augmenter(STEPS, 1), mix={"mixup": {"p": 0.3}, "cutmix": {"p": 0.3}}
    )
    alone, shared = (
        list(DataLoader(samples, batch_sampler=EpochSampler(24, 4, epoch=2), num_workers=workers)) for workers in (0, 2)
    )
    assert len(alone) == 6 and all(same(one, other) for one, other in zip(alone, shared, strict=True))
    plain = crop_set(images, Crops((40, 48)), rows=rows)
    first = [plain[0, position, position]["image"] for position in range(6)]
    assert len({image.numpy().tobytes() for image in first}) == 6


def test_partners_of_a_mix_are_crops_too() -> None:
    """Of an image of one half white and one half black, whole partners would show both."""
    array = np.zeros((40, 400, 1), np.uint8)
    array[:, 200:] = 255
    images = image_set(1, images=store([array]), masks=True)
    images = ImageSet(**{**vars(images), "masks": store([array[:, :, 0] // 255], masks=True)})
    samples = crop_set(images, Crops((40, 40)), mix={"mixup": {"p": 1.0, "alpha": 1.0}})
    found = [np.unique(samples[epoch, 0, 0]["image"].round()) for epoch in range(40)]
    assert sum(len(values) == 1 for values in found) > 20 and len({float(values[0]) for values in found}) > 5
