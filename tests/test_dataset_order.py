"""The order of an epoch: who comes, how often, in which batch, and in which process."""

from typing import Any

import numpy as np
import pytest
import torch

from segfold.data.augment import Augmenter
from segfold.data.sampling import EpochSampler, draws, row_chances
from segfold.errors import SegfoldError
from small_images import image_set, training_set

AREAS = np.array([0.0, 0.0, 0.0, 0.0, 0.01, 0.04, 0.25, 0.64])
VARIED = np.zeros(8, bool)


def positions(length: int, **settings: Any) -> np.ndarray:
    """Positions of an epoch in batches of one."""
    return np.array([batch[0][1] for batch in EpochSampler(length, 1, **settings)])


def test_an_epoch_is_a_permutation_of_its_own() -> None:
    def order(**settings: int) -> list[int]:
        batches = list(EpochSampler(20, 5, **settings))
        assert [len(batch) for batch in batches] == [5, 5, 5, 5]
        assert {epoch for batch in batches for epoch, _, _ in batch} == {settings.get("epoch", 0)}
        return [position for batch in batches for _, position, _ in batch]

    first = order(seed=3, epoch=2)
    assert sorted(first) == list(range(20)) and first != sorted(first)
    torch.manual_seed(0)
    assert order(seed=3, epoch=2) == first
    assert order(seed=3, epoch=1) != first
    assert order(seed=2, epoch=2) != first


def test_an_epoch_goes_on_where_it_was_left() -> None:
    whole = list(EpochSampler(23, 5, epoch=1))
    assert len(whole) == 4 and {len(batch) for batch in whole} == {5}
    for start in range(len(whole) + 1):
        rest = EpochSampler(23, 5, epoch=1, start=start)
        assert list(rest) == whole[start:]
        assert len(rest) == len(whole) - start


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(SegfoldError, match=r"7 training images .* batch of 8: lower batch_size"):
        EpochSampler(7, 8)


def test_without_settings_every_image_weighs_the_same() -> None:
    np.testing.assert_array_equal(row_chances(AREAS, VARIED), np.ones(8))
    assert draws(row_chances(AREAS, VARIED)) == 8


def test_nonempty_is_the_share_of_draws_with_foreground() -> None:
    areas = np.tile(AREAS, 500)
    for share in (0.8, 0.3):
        weights = row_chances(areas, np.zeros(4000, bool), nonempty=share)
        assert weights[areas > 0].sum() / weights.sum() == pytest.approx(share)
        assert np.ptp(weights[areas == 0]) == 0 and np.ptp(weights[areas > 0]) == 0
        found = (areas[positions(4000, chances=weights)] > 0).mean()
        assert found == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_area_weighs_by_a_power_and_leaves_the_shares_alone() -> None:
    weights = row_chances(AREAS, VARIED, area=0.5)
    np.testing.assert_allclose(weights[4:] / weights[4], [1, 2, 5, 8])
    np.testing.assert_allclose(weights[:4], 1)
    assert weights[4:].sum() == pytest.approx(4)
    both = row_chances(AREAS, VARIED, area=-1, nonempty=0.75)
    np.testing.assert_allclose(both[4:] / both[7], [64, 16, 2.56, 1])
    assert both[4:].sum() / both.sum() == pytest.approx(0.75)


def test_draws_follow_the_weights() -> None:
    weights = np.array([0.0, 1.0, 3.0, 0.0, 4.0])
    found = np.concatenate([positions(5, chances=weights, epoch=epoch) for epoch in range(700)])
    assert len(found) == 700 * 3 == 700 * draws(weights)
    shares = np.bincount(found, minlength=5) / len(found)
    np.testing.assert_allclose(shares, weights / 8, atol=4 * (0.25 / len(found)) ** 0.5)
    assert shares[0] == shares[3] == 0


def test_constant_images_are_left_out_once_and_for_all() -> None:
    constant = np.array([True, False, False, True, False, False, False, False])
    weights = row_chances(AREAS, constant, skip_constant=True)
    np.testing.assert_array_equal(weights, ~constant)
    for epoch in range(3):
        found = positions(8, chances=weights, epoch=epoch)
        assert sorted(found) == [1, 2, 4, 5, 6, 7]  # a permutation: each once
    np.testing.assert_array_equal(row_chances(AREAS, constant), np.ones(8))
    halves = row_chances(AREAS, constant, skip_constant=True, nonempty=0.5)
    assert halves[[0, 3]].sum() == 0 and halves[[1, 2]].sum() == pytest.approx(halves[4:].sum())


def test_equal_weights_change_nothing() -> None:
    for weights in (np.ones(23), np.full(23, 0.3)):
        assert list(EpochSampler(23, 5, seed=1, chances=weights)) == list(EpochSampler(23, 5, seed=1))


def test_weighted_draws_follow_seed_and_epoch_and_go_on_where_they_were_left() -> None:
    weights = np.linspace(1, 3, 23)

    def batches(**settings: int) -> list[Any]:
        return list(EpochSampler(23, 5, chances=weights, **settings))

    assert batches(epoch=1) == batches(epoch=1)
    assert batches(epoch=1) != batches(epoch=2) and batches(epoch=1, seed=1) != batches(epoch=1)
    for start in range(5):
        assert batches(epoch=1, start=start) == batches(epoch=1)[start:]


def test_an_image_that_is_drawn_twice_is_augmented_twice() -> None:
    images = image_set(2)
    dataset = training_set(
        images, augmenter=Augmenter({"affine": {"p": 1.0}}, 0), random_offset=True, mix={"cutmix": {"p": 1.0}}
    )
    keys = [key for batch in EpochSampler(2, 1, chances=np.array([1.0, 1e-9])) for key in batch]
    assert [key[1] for key in keys] == [0, 0]
    first, second = (dataset[key] for key in keys)
    assert first["row"] == second["row"] == 0
    assert all(not torch.equal(first[name], second[name]) for name in ("image", "mask", "valid"))  # type: ignore[literal-required]


@pytest.mark.parametrize("weights", [None, np.array([0.0] * 3 + [1.0] * 20), np.linspace(0, 2, 23)])
@pytest.mark.parametrize("images", [7, 23, 60])
def test_an_epoch_may_be_longer_or_shorter_than_the_images(images: int, weights: np.ndarray | None) -> None:
    keys = [key for batch in EpochSampler(23, 1, chances=weights, images=images, epoch=1) for key in batch]
    assert len(keys) == images
    assert len({draw for _, _, draw in keys}) == images
    kept = np.arange(23) if weights is None else np.flatnonzero(weights)
    counts = np.bincount([key[1] for key in keys], minlength=23)
    assert not counts[np.setdiff1d(np.arange(23), kept)].any()
    if weights is None or np.ptp(weights[kept]) == 0:
        assert np.ptp(counts[kept]) <= 1
        whole = [key for batch in EpochSampler(23, 1, chances=weights, epoch=1) for key in batch]
        assert keys[:20] == whole[: min(images, 20)]


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 26)])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_get_the_batches_of_one(world: int, weights: np.ndarray | None) -> None:
    settings: dict[str, Any] = {"seed": 2, "epoch": 3, "start": 1, "chances": weights}
    alone = list(EpochSampler(26, 6, **settings))
    shares = [list(EpochSampler(26, 6, rank=rank, world=world, **settings)) for rank in range(world)]
    assert len(alone) == 3 and {len(share) for share in shares} == {3}
    for number, batch in enumerate(alone):
        parts = [share[number] for share in shares]
        assert {len(part) for part in parts} == {6 // world}
        assert [parts[i % world][i // world] for i in range(6)] == batch


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"batch_size 5 .* 2 processes: set a multiple of 2$"):
        EpochSampler(23, 5, world=2)
    with pytest.raises(ValueError, match="process 2 of 2"):
        EpochSampler(23, 4, rank=2, world=2)


@pytest.mark.parametrize("weights", [np.ones(4), np.array([1.0, -1, 1]), np.array([1.0, np.nan, 1])])
def test_weights_of_another_kind_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(ValueError, match="chances of 3 positions"):
        EpochSampler(3, 1, chances=weights)


@pytest.mark.parametrize(
    ("areas", "constant", "settings", "message"),
    [
        (AREAS, ~VARIED, {"skip_constant": True}, "leaves no training image"),
        (AREAS[:4], VARIED[:4], {"nonempty": 0.5}, "no training image has foreground"),
        (AREAS[4:], VARIED[4:], {"nonempty": 0.5}, "no training image has no foreground"),
        (AREAS, VARIED, {"nonempty": 1.5}, "between 0 and 1"),
        (AREAS, VARIED, {"area": -1000.0}, r"sample\.area is -1000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    areas: np.ndarray, constant: np.ndarray, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SegfoldError, match=message) as caught:
        row_chances(areas, constant, **settings)
    assert "\n" not in str(caught.value)
    row_chances(AREAS[4:], VARIED[4:], nonempty=1.0)  # nothing else is asked for
