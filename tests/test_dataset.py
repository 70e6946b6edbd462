"""Samples and their order: the same for any number of workers, `valid` where the image lies."""

from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from segfold.data.augment import Augmenter
from segfold.data.dataset import EpochSampler, PredictionSet, TrainingSet
from segfold.data.images import ImageSet, PixelStore
from segfold.data.sizing import Sizing
from segfold.errors import SegfoldError

STEPS = {"hflip": {}, "affine": {"p": 1.0}, "brightness": {}, "contrast": {}, "gamma": {}}
PAD = Sizing(128, 128)


def store(arrays: list[np.ndarray], masks: bool = False) -> PixelStore:
    shapes = [(*array.shape, 1)[:3] for array in arrays]
    return PixelStore(np.concatenate([array.ravel() for array in arrays]), np.array(shapes), masks)


def image_set(
    count: int = 12,
    shape: tuple[int, int] = (101, 101),
    channels: int = 3,
    dtype: type = np.uint8,
    masks: bool = True,
) -> ImageSet:
    """Random images; the mask of each is where its first channel lies in the upper half of the range."""
    stream = np.random.default_rng(0)
    full = np.iinfo(dtype).max
    arrays = [stream.integers(0, full, (*shape, channels), dtype, endpoint=True) for _ in range(count)]
    targets = [(array[:, :, 0] > full // 2).astype(np.uint8) for array in arrays]
    return ImageSet(
        ids=np.array([f"{i:03}" for i in range(count)], object),
        images=store(arrays),
        masks=store(targets, masks=True) if masks else None,
        extra=pd.DataFrame(index=[f"{i:03}" for i in range(count)]),
        fingerprint="",
        coverage=np.array([target.mean() for target in targets]),
        groups=None,
        constant=np.zeros(count, bool),
    )


def training_set(images: ImageSet, **changes: Any) -> TrainingSet:
    arguments = {"rows": np.arange(len(images)), "sizing": PAD, "augmenter": None, "random_offset": False}
    return TrainingSet(images, **{**arguments, **changes})


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(torch.as_tensor(left[key]), torch.as_tensor(right[key])) for key in left)


def test_samples_do_not_depend_on_workers_or_on_what_came_before() -> None:
    images = image_set()
    dataset = training_set(images, augmenter=Augmenter(STEPS, 1), random_offset=True, seed=1)

    def batches(workers: int, epoch: int) -> list[Any]:
        sampler = EpochSampler(len(dataset), 5, seed=1, epoch=epoch, drop_last=False)
        return list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers))

    alone = [batches(0, epoch) for epoch in range(2)]
    shared = [batches(2, epoch) for epoch in (1, 0)][::-1]
    for left, right in zip(alone, shared, strict=True):
        assert len(left) == len(right) == 3
        assert all(same(a, b) for a, b in zip(left, right, strict=True))
    assert not same(alone[0][0], alone[1][0])
    assert same(dataset[1, 3], training_set(images, augmenter=Augmenter(STEPS, 1), random_offset=True, seed=1)[1, 3])


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
        sample = dataset[0, position]
        assert sample["row"] == row
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), PAD.image(images.images[row]))
        np.testing.assert_array_equal(sample["mask"][0], PAD.mask(images.masks[row]))  # type: ignore[index]


def test_valid_holds_the_image_at_any_offset() -> None:
    images = image_set(2, (101, 90))
    dataset = training_set(images, random_offset=True)
    corners = []
    for epoch in range(150):
        sample = dataset[epoch, 1]
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
    samples = [training_set(images, random_offset=True, seed=seed)[0, 0]["valid"] for seed in (0, 0, 1)]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_without_random_offset_images_are_centred() -> None:
    valid = training_set(image_set(1))[4, 0]["valid"][0]
    assert valid[13:114, 13:114].all() and valid.sum() == 101 * 101


def test_resized_images_are_valid_everywhere() -> None:
    images = image_set(1)
    sizing = Sizing(64, 96, "resize")
    sample = training_set(images, sizing=sizing, random_offset=True)[0, 0]
    assert sample["valid"].shape == (1, 64, 96) and sample["valid"].all()
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), sizing.image(images.images[0]))


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
        sample = dataset[epoch, position]
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), PAD.image(image))
        np.testing.assert_array_equal(sample["mask"][0], PAD.mask(mask))
    assert not torch.equal(dataset[0, 0]["image"], dataset[0, 1]["image"])


def test_height_channel() -> None:
    images = image_set(2)
    augmenter = Augmenter({"brightness": {"limit": 0.5, "p": 1.0}}, 0)
    sample = training_set(images, augmenter=augmenter, channels=("y", "image"))[0, 1]["image"]
    assert sample.shape == (4, 128, 128) and sample.dtype == torch.float32
    inside = sample[:, 13:114, 13:114]
    np.testing.assert_allclose(inside[0], np.linspace(0, 255, 101)[:, None].repeat(101, axis=1), atol=1e-3)
    expected, _ = augmenter(images.images[1], images.masks[1], 0, 1)  # type: ignore[index]
    np.testing.assert_array_equal(inside[1:].permute(1, 2, 0), expected)
    predicted = PredictionSet(images, np.array([1]), PAD, channels=("image", "y"))[0]["image"]
    np.testing.assert_array_equal(predicted[3], sample[0])
    np.testing.assert_array_equal(predicted[:3].permute(1, 2, 0), PAD.image(images.images[1]))


def test_16_bits_reach_the_network_as_0_to_255() -> None:
    images = image_set(2, dtype=np.uint16)
    for sample in (training_set(images)[0, 0], PredictionSet(images, np.arange(2), PAD)[0]):
        assert sample["image"].dtype == torch.float32
        np.testing.assert_allclose(sample["image"].permute(1, 2, 0), PAD.image(images.images[0]) / 257.0, atol=1e-4)


def test_prediction_follows_the_rows() -> None:
    images = image_set(masks=False)
    rows = np.array([5, 0, 11, 3])
    batches = list(DataLoader(PredictionSet(images, rows, PAD), batch_size=3))
    assert [batch["row"].tolist() for batch in batches] == [[5, 0, 11], [3]]
    for batch in batches:
        for row, image in zip(batch["row"].tolist(), batch["image"], strict=True):
            np.testing.assert_array_equal(image.permute(1, 2, 0), PAD.image(images.images[row]))


def test_unknown_channels_and_missing_masks_are_refused() -> None:
    images = image_set(2)
    for channels in (("image", "depht"), ()):
        with pytest.raises(SegfoldError, match=r"input\.channels .* image, y"):
            training_set(images, channels=channels)
        with pytest.raises(SegfoldError, match=r"input\.channels .* image, y"):
            PredictionSet(images, np.arange(2), PAD, channels=channels)
    with pytest.raises(SegfoldError, match="masks"):
        training_set(image_set(2, masks=False))


def test_an_epoch_is_a_permutation_of_its_own() -> None:
    def order(**settings: int) -> list[int]:
        batches = list(EpochSampler(23, 5, drop_last=False, **settings))
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
        assert {epoch for batch in batches for epoch, _ in batch} == {settings.get("epoch", 0)}
        return [position for batch in batches for _, position in batch]

    first = order(seed=3, epoch=2)
    assert sorted(first) == list(range(23)) and first != sorted(first)
    torch.manual_seed(0)
    assert order(seed=3, epoch=2) == first
    assert order(seed=3, epoch=1) != first
    assert order(seed=2, epoch=2) != first


@pytest.mark.parametrize("drop_last", [True, False])
def test_an_epoch_goes_on_where_it_was_left(drop_last: bool) -> None:
    whole = list(EpochSampler(23, 5, epoch=1, drop_last=drop_last))
    assert len(whole) == (4 if drop_last else 5)
    for start in range(len(whole) + 1):
        rest = EpochSampler(23, 5, epoch=1, start=start, drop_last=drop_last)
        assert list(rest) == whole[start:]
        assert len(rest) == len(whole) - start


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(SegfoldError, match=r"7 training images .* batch of 8: lower batch_size"):
        EpochSampler(7, 8)
    assert [len(batch) for batch in EpochSampler(7, 8, drop_last=False)] == [7]


def test_opencv_starts_no_threads_of_its_own() -> None:
    assert cv2.getNumThreads() == 1
