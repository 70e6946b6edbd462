"""Samples and their order: the same for any number of workers, ``valid`` where the image lies."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segfold.data.augment import AUGMENTATIONS, Augmenter
from segfold.data.geometry.sizing import Sizing
from segfold.data.images import ImageSet
from segfold.data.sampling import EpochSampler
from segfold.errors import SegfoldError
from small_images import PAD, image_set, prediction_set, same, store, training_set

STEPS: dict[str, dict[str, float]] = {name: {} for name in AUGMENTATIONS}


def test_samples_do_not_depend_on_workers_or_on_what_came_before() -> None:
    images = image_set()
    dataset = training_set(images, augmenter=Augmenter(STEPS, 1), random_offset=True, seed=1)

    def batches(workers: int, epoch: int) -> list[Any]:
        sampler = EpochSampler(len(dataset), 4, seed=1, epoch=epoch)
        return list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers))

    alone = [batches(0, epoch) for epoch in range(2)]
    shared = [batches(2, epoch) for epoch in (1, 0)][::-1]
    for left, right in zip(alone, shared, strict=True):
        assert len(left) == len(right) == 3
        assert all(same(a, b) for a, b in zip(left, right, strict=True))
    assert not same(alone[0][0], alone[1][0])
    assert same(
        dataset[1, 3, 3], training_set(images, augmenter=Augmenter(STEPS, 1), random_offset=True, seed=1)[1, 3, 3]
    )


def test_a_batch_has_the_promised_shapes_and_types() -> None:
    sampler = EpochSampler(12, 4)
    batch = next(iter(DataLoader(training_set(image_set()), batch_sampler=sampler)))
    assert (batch["image"].shape, batch["image"].dtype) == ((4, 3, 128, 128), torch.uint8)
    assert (batch["mask"].shape, batch["mask"].dtype) == ((4, 1, 128, 128), torch.uint8)
    assert (batch["valid"].shape, batch["valid"].dtype) == ((4, 1, 128, 128), torch.bool)
    assert batch["row"].dtype == torch.int64


def test_rows_are_those_asked_for() -> None:
    images = image_set()
    dataset = training_set(images, rows=np.array([7, 2, 7]))
    assert len(dataset) == 3
    for position, row in enumerate((7, 2, 7)):
        sample = dataset[0, position, position]
        assert sample["row"] == row
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), PAD.image(images.images[row]))
        np.testing.assert_array_equal(sample["mask"][0], PAD.mask(images.masks[row]))  # type: ignore[index]


def test_valid_holds_the_image_at_any_offset() -> None:
    images = image_set(2, (101, 90))
    dataset = training_set(images, random_offset=True)
    corners = []
    for epoch in range(150):
        sample = dataset[epoch, 1, 1]
        valid = sample["valid"][0]
        assert valid.sum() == 101 * 90
        inside = sample["image"][:, valid].T.reshape(101, 90, 3)
        np.testing.assert_array_equal(inside, images.images[1])
        np.testing.assert_array_equal(sample["mask"][0][valid].reshape(101, 90), images.masks[1])  # type: ignore[index]
        corners.append(np.argwhere(valid.numpy())[0])
    tops, lefts = np.array(corners).T
    assert (tops.min(), tops.max()) == (0, 27)
    assert (lefts.min(), lefts.max()) == (0, 38)
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.3
    assert len({tuple(corner) for corner in corners}) > 100


def test_offsets_follow_the_seed() -> None:
    images = image_set(1)
    samples = [training_set(images, random_offset=True, seed=seed)[0, 0, 0]["valid"] for seed in (0, 0, 1)]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_without_random_offset_images_are_centred() -> None:
    valid = training_set(image_set(1))[4, 0, 0]["valid"][0]
    assert valid[13:114, 13:114].all() and valid.sum() == 101 * 101


def test_resized_images_are_valid_everywhere() -> None:
    images = image_set(1)
    sizing = Sizing(64, 96, "resize")
    sample = training_set(images, sizing=sizing, random_offset=True)[0, 0, 0]
    assert sample["valid"].shape == (1, 64, 96) and sample["valid"].all()
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), sizing.image(images.images[0]))


def test_stretched_and_padded_images_are_valid_where_they_lie() -> None:
    images = image_set(1, (101, 90))
    sizing = Sizing(256, 224, "pad", resize=(202, 180))
    sample = training_set(images, sizing=sizing, random_offset=True)[0, 0, 0]
    valid = sample["valid"][0]
    assert valid.sum() == 202 * 180
    stretched = cv2.resize(images.images[0], (180, 202), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(sample["image"][:, valid].T.reshape(202, 180, 3), stretched)


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_images_of_different_sizes_make_a_batch(fit: str) -> None:
    small, large = image_set(1, (50, 70)), image_set(1, (101, 101))
    both = ImageSet(
        **{
            **vars(small),
            "ids": np.array(["a", "b"], object),
            "images": store([small.images[0], large.images[0]]),
            "masks": store([small.masks[0], large.masks[0]], masks=True),  # type: ignore[index]
        }
    )
    dataset = training_set(both, sizing=Sizing(128, 128, fit), augmenter=Augmenter(STEPS, 0))  # type: ignore[arg-type]
    batch = next(iter(DataLoader(dataset, batch_sampler=EpochSampler(2, 2))))
    assert batch["image"].shape == (2, 3, 128, 128)
    areas = batch["valid"].sum(dim=(1, 2, 3))[batch["row"].argsort()].tolist()
    assert areas == ([50 * 70, 101 * 101] if fit == "pad" else [128 * 128] * 2)


def test_samples_are_augmented_by_epoch_and_position() -> None:
    images = image_set(2)
    augmenter = Augmenter(STEPS, 0)
    dataset = training_set(images, rows=np.array([1, 1]), augmenter=augmenter)
    for epoch, position in ((0, 0), (0, 1), (3, 1)):
        image, mask = augmenter(images.images[1], images.masks[1], epoch, position)  # type: ignore[index]
        sample = dataset[epoch, position, position]
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), PAD.image(image))
        np.testing.assert_array_equal(sample["mask"][0], PAD.mask(mask))
    assert not torch.equal(dataset[0, 0, 0]["image"], dataset[0, 1, 1]["image"])


def test_16_bits_reach_the_network_as_0_to_255() -> None:
    images = image_set(2, dtype=np.uint16)
    for sample in (training_set(images)[0, 0, 0]["image"], prediction_set(images, np.arange(2), PAD)[0, 0].image):
        assert isinstance(sample, torch.Tensor) and sample.dtype == torch.float32
        np.testing.assert_allclose(sample.permute(1, 2, 0), PAD.image(images.images[0]) / 257.0, atol=1e-4)


def test_prediction_follows_the_rows() -> None:
    images = image_set(masks=False)
    rows = np.array([5, 0, 11, 3])
    keys = [[(0, 0), (1, 0), (2, 0)], [(3, 0)]]
    batches = list(DataLoader(prediction_set(images, rows, PAD), batch_sampler=keys))
    assert [batch.position.tolist() for batch in batches] == [[0, 1, 2], [3]]
    for batch in batches:
        for position, image in zip(batch.position.tolist(), batch.image, strict=True):
            np.testing.assert_array_equal(image.permute(1, 2, 0), PAD.image(images.images[rows[position]]))


def test_unknown_channels_and_missing_masks_are_refused() -> None:
    images = image_set(2)
    for channels in (("image", "depht"), ()):
        with pytest.raises(SegfoldError, match=r"input\.channels .* image, y"):
            training_set(images, channels=channels)
        with pytest.raises(SegfoldError, match=r"input\.channels .* image, y"):
            prediction_set(images, np.arange(2), PAD, channels=channels)
    with pytest.raises(SegfoldError, match="masks"):
        training_set(image_set(2, masks=False))


def test_opencv_starts_no_threads_of_its_own() -> None:
    assert cv2.getNumThreads() == 1
