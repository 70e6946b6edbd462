"""Samples made of two: exact shares, exact areas, partners of their own, and the same in every process."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segfold.data.augment import Augmenter
from segfold.data.augment.mixing import MIXES, MaskedImage, cutmix, mixup
from segfold.data.geometry.sizing import Sizing
from segfold.data.keys import sample_key
from segfold.data.sampling import EpochSampler
from segfold.errors import SegfoldError
from small_images import PAD, image_set, same, training_set

BOTH = {"mixup": {"p": 0.5}, "cutmix": {"p": 0.5}}


def pixels(seed: int, shape: tuple[int, int] = (64, 80)) -> MaskedImage:
    stream = np.random.default_rng(seed)
    return MaskedImage(
        stream.integers(0, 256, (*shape, 3), np.uint8),
        stream.integers(0, 2, shape, np.uint8),
        stream.random(shape) < 0.7,
    )


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize(("share", "left"), [(1.0, 0), (0.0, 1)])
def test_a_share_of_all_or_nothing_is_one_of_the_two(name: str, share: float, left: int) -> None:
    pair = pixels(0), pixels(1)
    mixed = MIXES[name]().mix(*pair, share, random.Random(0))
    for got, want in zip(mixed[:2], pair[left][:2], strict=True):
        np.testing.assert_array_equal(got, want)
    expected = pair[0].valid & pair[1].valid if name == "mixup" else pair[left].valid
    np.testing.assert_array_equal(mixed.valid, expected)
    assert mixed.valid.dtype == bool


def test_mixup_is_the_weighted_mean() -> None:
    first, second = pixels(0), pixels(1)
    mixed = mixup().mix(first, second, 0.3, random.Random(0))
    assert mixed.image.dtype == mixed.mask.dtype == np.float32
    np.testing.assert_allclose(mixed.image, 0.3 * first.image + 0.7 * second.image, rtol=1e-5)
    np.testing.assert_allclose(mixed.mask, 0.3 * first.mask + 0.7 * second.mask, rtol=1e-5)
    np.testing.assert_array_equal(mixed.valid, first.valid & second.valid)


def test_cutmix_pastes_a_rectangle_of_the_drawn_area() -> None:
    first, second = pixels(0), pixels(1)
    ground, marks = (MaskedImage(*(np.full_like(part, value) for part in first)) for value in (0, 1))
    corners = set()
    for seed, share in enumerate(np.linspace(0, 1, 41)):
        marked = cutmix().mix(ground, marks, float(share), random.Random(seed))
        pasted = marked.mask == 1
        # Each side is rounded by up to half a pixel.
        assert abs(pasted.mean() - (1 - share)) <= 0.5 / 64 + 0.5 / 80 + 1e-4
        if pasted.any():
            rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
            assert pasted.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            corners.add((rows[0], columns[0]))
        mixed = cutmix().mix(first, second, float(share), random.Random(seed))
        for part, own, other in zip(mixed, first, second, strict=True):
            assert part.dtype == own.dtype
            np.testing.assert_array_equal(part[pasted], other[pasted])
            np.testing.assert_array_equal(part[~pasted], own[~pasted])
    assert len(corners) > 20


@pytest.mark.parametrize("name", MIXES)
def test_shares_have_the_beta_distribution(name: str) -> None:
    plain, full = np.zeros((40, 40), np.float32), np.ones((40, 40), np.float32)
    pair = [MaskedImage(part[:, :, None], part, part > -1) for part in (full, plain)]
    for alpha in (0.3, 1.0, 4.0):
        mix = MIXES[name](alpha=alpha)
        shares = np.array([mix(*pair, random.Random(i)).mask.mean() for i in range(1500)])
        assert shares.mean() == pytest.approx(0.5, abs=0.04)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


@pytest.mark.parametrize("name", MIXES)
def test_probability_is_heeded(name: str) -> None:
    images, sizing = image_set(12, (20, 24)), Sizing(32, 32)
    plain = training_set(images, sizing=sizing)

    def changed(p: float) -> float:
        mixed = training_set(images, sizing=sizing, mix={name: {"p": p, "alpha": 1.0}})
        pairs = [(mixed[epoch, i, i]["image"], plain[epoch, i, i]["image"]) for epoch in range(10) for i in range(12)]
        return float(np.mean([not torch.equal(one, two.to(one.dtype)) for one, two in pairs]))

    assert changed(0.0) == 0
    assert changed(0.3) == pytest.approx(0.3, abs=0.15)
    assert changed(1.0) > 0.85  # a partner may be the image itself


def test_a_mixed_sample_is_two_augmented_ones() -> None:
    images = image_set(6, (30, 24))
    augmenter = Augmenter({"shear": {"p": 1.0}, "noise": {"p": 1.0}}, 3)
    settings: dict[str, Any] = {"sizing": Sizing(32, 32), "augmenter": augmenter, "random_offset": True, "seed": 5}
    plain = training_set(images, **settings)
    mixed = training_set(images, mix={"mixup": {"p": 1.0, "alpha": 1.0}}, **settings)
    partners = set()
    for epoch in range(20):
        own, both = plain[epoch, 2, 2], mixed[epoch, 2, 2]
        stream = random.Random(sample_key("mixup", 5, epoch, 2))
        stream.random()
        partner = int(stream.random() * 6)
        share = stream.betavariate(1.0, 1.0)
        # The partner is what the plain set would give for its image under the partner's key.
        other = plain._pixels(partner, epoch, "2/mixup")
        expected = share * own["image"].double() + (1 - share) * torch.from_numpy(other.image).permute(2, 0, 1)
        torch.testing.assert_close(both["image"].double(), expected, atol=1e-3, rtol=0)
        expected = share * own["mask"].double() + (1 - share) * torch.from_numpy(other.mask)
        torch.testing.assert_close(both["mask"].double(), expected, atol=1e-5, rtol=0)
        assert torch.equal(both["valid"], own["valid"] & torch.from_numpy(other.valid))
        assert both["row"] == 2
        alike = plain._pixels(2, epoch, "2/mixup")
        assert (alike.image != own["image"].permute(1, 2, 0).numpy()).any()  # another key, another augmentation
        partners.add(partner)
    assert len(partners) > 3


def test_partners_are_drawn_from_the_rows_by_their_weights() -> None:
    images = image_set(6)
    rows = np.array([1, 3, 4])

    def partners(**settings: Any) -> np.ndarray:
        dataset = training_set(images, rows=rows, mix={"cutmix": {"p": 1.0, "alpha": 1.0}}, **settings)
        found = [rows[dataset._partner(random.Random(seed))] for seed in range(400)]
        return np.bincount(found, minlength=6) / 400

    np.testing.assert_allclose(partners(), [0, 1 / 3, 0, 1 / 3, 1 / 3, 0], atol=0.08)
    weighted = partners(chances=np.array([3.0, 0.0, 1.0]))
    np.testing.assert_allclose(weighted, [0, 0.75, 0, 0, 0.25, 0], atol=0.08)
    assert weighted[3] == 0


@pytest.mark.parametrize("mix", [BOTH, {"cutmix": {"p": 0.7}}])
def test_mixed_samples_do_not_depend_on_workers(mix: dict[str, Any]) -> None:
    images = image_set(10)
    dataset = training_set(images, augmenter=Augmenter({"affine": {}}, 1), random_offset=True, seed=1, mix=mix)

    def batches(workers: int, **settings: int) -> list[Any]:
        sampler = EpochSampler(10, 4, seed=1, **settings)
        return list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers))

    alone, shared = batches(0), batches(2)
    assert len(alone) == len(shared) == 2
    assert all(same(one, two) for one, two in zip(alone, shared, strict=True))
    ranks = [batches(0, rank=rank, world=2) for rank in range(2)]
    for batch, parts in zip(alone, zip(*ranks, strict=True), strict=True):
        for i in range(4):
            assert torch.equal(batch["image"][i], parts[i % 2]["image"][i // 2])


def test_all_samples_of_a_set_have_the_same_types() -> None:
    images = image_set(8)
    for mix, image, mask in (
        (BOTH, torch.float32, torch.float32),
        ({"mixup": {"p": 0.0}}, torch.float32, torch.float32),
        ({"cutmix": {"p": 0.5}}, torch.uint8, torch.uint8),
    ):
        dataset = training_set(images, mix=mix)
        samples = [dataset[epoch, i, i] for epoch in range(2) for i in range(8)]
        assert {(sample["image"].dtype, sample["mask"].dtype) for sample in samples} == {(image, mask)}
        assert {sample["valid"].dtype for sample in samples} == {torch.bool}
        assert all(sample["image"].shape == (3, PAD.height, PAD.width) for sample in samples)


def test_images_of_the_store_are_not_changed() -> None:
    images = image_set(3)
    before = [images.images[row].copy() for row in range(3)]
    dataset = training_set(images, mix={"cutmix": {"p": 1.0}, "mixup": {"p": 1.0}})
    for position in range(3):
        dataset[0, position, position]
    assert all((images.images[row] == before[row]).all() for row in range(3))


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize(("key", "value"), [("alpha", 0.0), ("alpha", float("nan")), ("p", 1.5)])
def test_settings_out_of_range_are_refused(name: str, key: str, value: float) -> None:
    with pytest.raises(SegfoldError, match=rf"^augment\.{name}\.{key}: Input should be [^\n]*, found {value}$"):
        training_set(image_set(2), mix={name: {key: value}})


def test_an_unknown_mix_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"'mosaic'.*mixup, cutmix"):
        training_set(image_set(2), mix={"mosaic": {}})
