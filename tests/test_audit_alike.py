"""Near-duplicates, against the correlation of every pair written out."""

import numpy as np
import pytest

from segfold.audit import alike
from segfold.audit.alike import FLIPS, Alike, find_alike
from segfold.audit.whole import mirrored


def pictures(count: int, copies: list[tuple[int, int, str]], seed: int = 0, noise: float = 0.02) -> np.ndarray:
    """Smooth random pictures; of (image, other, flip) the image becomes the other, mirrored, in another light."""
    rng = np.random.default_rng(seed)
    small = np.kron(rng.random((count, 8, 8)), np.ones((1, 4, 4)))
    for image, other, flip in copies:
        small[image] = 0.1 + 0.5 * mirrored(small[other], FLIPS.index(flip))
    return (small + rng.normal(0, noise, small.shape)).astype(np.float32)


def correlations(small: np.ndarray) -> np.ndarray:
    """4×N×N: of each image with each, the other mirrored, by numpy's own formula."""
    flat = small.reshape(len(small), -1)
    each = []
    for flip in range(len(FLIPS)):
        other = np.array([mirrored(picture, flip) for picture in small]).reshape(len(small), -1)
        each.append(np.corrcoef(flat, other)[: len(small), len(small) :])
    return np.array(each)


def check(small: np.ndarray, places: list[np.ndarray], least: float) -> Alike:
    """Holds what is found to all pairs, and returns it."""
    found = find_alike(small, places, least)
    every = correlations(small)
    count = len(small)
    best = every.max(axis=0)
    np.fill_diagonal(best, -1)
    linked = best >= least
    assert found.pairs == np.triu(linked, 1).sum()
    for nearest, apart in [
        (found.nearest, np.ones((count, count), bool)),
        *((each, (p[:, None] != p) & (p[:, None] >= 0) & (p >= 0)) for each, p in zip(found.across, places)),
    ]:
        allowed = np.where(apart & linked, best, -1)
        has = allowed.max(axis=1) > -1
        np.testing.assert_array_equal(nearest.image >= 0, has)
        np.testing.assert_allclose(nearest.correlation[has], allowed.max(axis=1)[has], atol=1e-5)
        rows = np.flatnonzero(has)
        np.testing.assert_allclose(
            every[nearest.flip[rows], rows, nearest.image[rows]], allowed.max(axis=1)[rows], atol=1e-5
        )
    # Groups are what a walk along the pairs reaches.
    reached = linked | np.eye(count, dtype=bool)
    for _ in range(count):
        reached = reached @ reached
    for image in range(count):
        mates = np.flatnonzero(reached[image])
        if len(mates) == 1:
            assert found.group[image] == -1
        else:
            np.testing.assert_array_equal(np.flatnonzero(found.group == found.group[image]), mates)
    sizes = np.bincount(found.group[found.group >= 0])
    assert (np.diff(sizes) <= 0).all() and found.groups == len(sizes)
    return found


@pytest.mark.parametrize("dense", [0.0, 2.0], ids=["products of all", "pairs alone"])
@pytest.mark.parametrize("block", [7, 1024])
def test_all_pairs_by_blocks_or_at_once(monkeypatch: pytest.MonkeyPatch, block: int, dense: float) -> None:
    monkeypatch.setattr(alike, "_BLOCK", block)
    monkeypatch.setattr(alike, "_DENSE", dense)
    monkeypatch.setattr(alike, "_AT_ONCE", 3)
    copies = [(3, 0, "hflip"), (20, 0, "vflip"), (9, 3, ""), (15, 14, "both"), (16, 14, ""), (24, 5, "hflip")]
    places = [np.arange(25) % 3, np.where(np.arange(25) < 10, -1, np.arange(25) % 2)]
    found = check(pictures(25, copies), places, 0.9)
    assert found.groups == 3
    assert [FLIPS[found.nearest.flip[image]] for image in (20, 15, 16, 24)] == ["vflip", "both", "", "hflip"]


@pytest.mark.parametrize("least", [0.3, 0.6, 0.95])
def test_many_that_are_somewhat_alike(least: float) -> None:
    rng = np.random.default_rng(1)
    shared = np.kron(rng.random((3, 8, 8)), np.ones((1, 4, 4)))
    small = pictures(30, [], noise=0.1) * 0.6 + shared[np.arange(30) % 3]
    check(small.astype(np.float32), [np.arange(30) // 10], least)


def test_brightness_and_contrast_make_no_difference_and_one_value_is_no_picture() -> None:
    small = pictures(8, [(6, 2, "")], noise=0)
    small[3:6] = np.array([0, 0.4, 1])[:, None, None]
    found = find_alike(small)
    assert found.pairs == 1 and found.nearest.correlation[6] == pytest.approx(1, abs=1e-5)
    assert found.group.tolist() == [-1, -1, 0, -1, -1, -1, 0, -1]


def test_nothing_to_compare() -> None:
    assert find_alike(np.zeros((0, 32, 32), np.float32)).groups == 0
    assert find_alike(pictures(1, [])).group.tolist() == [-1]
