"""Training samples of several classes: what is moved in stays a class, what does not count is not valid."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.dataset import TrainingSet
from segfold.data.geometry.sizing import Sizing
from segfold.data.images import ImageSet
from segfold.tasks import FOREGROUND, VOID, Binary, Multiclass, Multilabel, Task
from small_images import image_set, same, store, training_set

ABC = ("a", "b", "c")
GEOMETRIC = ["hflip", "vflip", "affine", "shear", "crop", "elastic", "grid_distortion"]


def of_task(task: Task, shape: tuple[int, int] = (61, 53), count: int = 4) -> ImageSet:
    """Blocks of 8 pixels, each of a class; of a class image the first channel shows its index."""
    rng = np.random.default_rng(0)
    values = [*range(len(task.classes)), VOID] if task.exclusive else range(1 << len(task.classes))
    masks = [
        np.kron(rng.choice(values, (8, 7)), np.ones((8, 8)))[: shape[0], : shape[1]].astype(task.dtype)
        for _ in range(count)
    ]
    images = [np.repeat(mask[:, :, None], 3, axis=2).astype(np.uint8) for mask in masks]
    made = image_set(count, shape, task=task)
    return replace(made, images=store(images), masks=store(masks, masks=True), areas=None)


def one(
    images: ImageSet, steps: dict[str, Any], sizing: Sizing, **changes: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found: TrainingSet = training_set(images, sizing=sizing, augmenter=Augmenter(steps, 3, images.task), **changes)
    sample = found[(1, 2, 2)]
    return sample["image"].numpy(), sample["mask"].numpy(), sample["valid"].numpy()


@pytest.mark.parametrize("name", GEOMETRIC)
def test_class_indices_move_with_the_image(name: str) -> None:
    images = of_task(Multiclass(ABC))
    image, mask, valid = one(images, {name: {"p": 1.0}}, Sizing(61, 53))
    assert mask.shape == valid.shape == (1, 61, 53) and mask.dtype == np.uint8
    assert set(np.unique(mask[valid])) <= {0, 1, 2}, "an index between two classes would be a third one"
    # Where the image is of one value around a pixel, nothing was interpolated, and it is the mask's own.
    flat = (image[0, 1:-1, 1:-1] == image[0, :-2, 1:-1]) & (image[0, 1:-1, 1:-1] == image[0, 2:, 1:-1])
    flat &= (image[0, 1:-1, 1:-1] == image[0, 1:-1, :-2]) & (image[0, 1:-1, 1:-1] == image[0, 1:-1, 2:])
    there = valid[0, 1:-1, 1:-1] & flat
    assert there.mean() > 0.3
    assert (mask[0, 1:-1, 1:-1][there] == image[0, 1:-1, 1:-1][there]).mean() > 0.97


def test_outside_of_a_class_mask_nothing_counts_and_outside_of_a_binary_one_it_goes_on() -> None:
    far = {"affine": {"shift": 0.0, "scale": 0.0, "rotate": 0.0, "shear": 45.0, "p": 1.0}}
    classes, single = of_task(Multiclass(ABC)), of_task(Binary(("a",)))
    no_void = replace(classes, masks=store([np.zeros((61, 53), np.uint8)] * 4, masks=True))
    _, _, valid = one(no_void, far, Sizing(61, 53))
    assert 0.05 < (~valid).mean() < 0.9
    assert one(single, far, Sizing(61, 53))[2].all()


@pytest.mark.parametrize("name", GEOMETRIC)
def test_each_of_several_classes_moves_as_it_would_alone(name: str) -> None:
    """Planes of a bit set against three binary sets, augmented by the same numbers."""
    task = Multilabel(ABC)
    images = of_task(task)
    assert images.masks is not None
    _, found, _ = one(images, {name: {"p": 1.0}}, Sizing(80, 64))
    for bit in range(3):
        alone = [((mask >> bit) & 1).astype(np.uint8) for mask in images.masks]
        single = replace(images, masks=store(alone, masks=True), task=FOREGROUND, areas=None)
        np.testing.assert_array_equal(found[bit], one(single, {name: {"p": 1.0}}, Sizing(80, 64))[1][0])


def test_multilabel_of_one_class_gives_the_samples_of_binary() -> None:
    steps = {name: {"p": 0.7} for name in AUGMENTATIONS}
    for extra in ({}, {"mix": {"cutmix": {"p": 1.0}}}, {"mix": {"mixup": {"p": 1.0}}}):
        several, single = (
            training_set(of_task(task), augmenter=Augmenter(steps, 0, task), **extra)
            for task in (Multilabel(("a",)), Binary(("a",)))
        )
        assert all(same(several[(0, i, i)], single[(0, i, i)]) for i in range(4))


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_void_and_border_are_not_valid(fit: Any) -> None:
    images = of_task(Multiclass(ABC))
    sizing = Sizing(96, 64, fit)
    _, mask, valid = one(images, {}, sizing)
    assert images.masks is not None
    expected = sizing.valid((61, 53)) & (sizing.mask(images.masks[2], None, images.task) != VOID)
    np.testing.assert_array_equal(valid[0], expected)
    assert expected.mean() < 0.9 and (mask[0][~valid[0]] == 0).all()


def test_mixed_samples_are_shares_of_classes() -> None:
    images = of_task(Multiclass(ABC))
    samples = training_set(images, sizing=Sizing(61, 53), mix={"mixup": {"p": 1.0, "alpha": 1.0}})
    mixed = False
    for epoch, position in product(range(3), range(4)):
        found = samples[(epoch, position, position)]
        valid = found["valid"][0]
        assert found["mask"].shape == (3, 61, 53) and found["mask"].dtype == torch.float32
        torch.testing.assert_close(found["mask"].sum(dim=0)[valid], torch.ones(int(valid.sum())))
        mixed |= bool(((found["mask"] > 0.01) & (found["mask"] < 0.99)).any())
    assert mixed


@pytest.mark.parametrize("task", [Binary(("a",)), Multilabel(ABC), Multiclass(ABC)], ids=lambda task: task.name)
@pytest.mark.parametrize("mix", [None, "cutmix", "mixup"])
def test_the_size_of_a_sample_is_foretold(task: Task, mix: str | None) -> None:
    found = training_set(of_task(task), mix=None if mix is None else {mix: {"p": 1.0}})
    sample = found[(0, 0, 0)]
    held = sum(sample[name].nelement() * sample[name].element_size() for name in ("image", "mask", "valid"))  # type: ignore[literal-required]
    assert found.sample_bytes == held
