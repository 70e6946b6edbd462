"""The sweep over thresholds and smallest components against a labelling by OpenCV at every threshold."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segfold.ensemble.axes import THRESHOLDS
from segfold.ensemble.sweep import Sweep
from segfold.post.areas import AREAS
from segfold.post.threshold import threshold_code
from segfold.store.codes import HALF
from store_samples import smooth


def by_hand(codes, truth, thresholds, areas):
    """One labelling by OpenCV a threshold, one mask an area."""
    inter, area = np.zeros((2, len(thresholds), len(areas)), int)
    for t, threshold in enumerate(thresholds):
        binary = (codes >= threshold).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
        for a, minimum in enumerate(areas):
            keep = stats[:, cv2.CC_STAT_AREA] >= minimum
            keep[0] = False
            kept = keep[labels]
            inter[t, a], area[t, a] = (kept & (truth > 0)).sum(), kept.sum()
    return inter, area


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sweep_equals_a_labelling_at_every_threshold(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
    codes = data.draw(hnp.arrays(np.uint16, shape, elements=st.sampled_from([0, 9, 10, 11, 500, 65534, 65535])))
    truth = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255])))
    thresholds = sorted(data.draw(st.sets(st.sampled_from([0, 1, 10, 11, 400, 65535]), min_size=1)))
    areas = sorted(data.draw(st.sets(st.integers(0, 20), min_size=1)))
    inter, area, truth_area = Sweep(thresholds, areas)(codes, truth)
    expected_inter, expected_area = by_hand(codes, truth, thresholds, areas)
    assert np.array_equal(inter, expected_inter) and np.array_equal(area, expected_area)
    assert truth_area == (truth > 0).sum()


def test_sweep_on_images_like_real_ones():
    thresholds = [threshold_code(value) for value in THRESHOLDS]
    for seed in range(3):
        codes, truth = smooth(seed), (smooth(seed + 9) > HALF).astype(np.uint8)
        inter, area, _ = Sweep(thresholds, AREAS)(codes, truth)
        expected_inter, expected_area = by_hand(codes, truth, thresholds, AREAS)
        assert np.array_equal(inter, expected_inter) and np.array_equal(area, expected_area)
        assert (area[:, 0] != area[:, -1]).any()


@pytest.mark.parametrize(
    "arguments", [([], [0]), ([2, 1], [0]), ([1, 70000], [0]), ([1], []), ([1], [5, 5]), ([1], [-1])]
)
def test_sweep_refuses_grids_it_cannot_take(arguments):
    with pytest.raises(ValueError, match="expected"):
        Sweep(*arguments)


def test_an_image_of_more_pixels_than_32_bits_number_has_the_same_counts(monkeypatch):
    thresholds = [threshold_code(value) for value in THRESHOLDS]
    codes, truth = smooth(4), (smooth(13) > HALF).astype(np.uint8)
    inter, area, truth_area = Sweep(thresholds, AREAS)(codes, truth)
    monkeypatch.setattr("segfold.ensemble.sweep._SHORT", 0)
    longer = Sweep(thresholds, AREAS)(codes, truth)
    assert np.array_equal(longer[0], inter) and np.array_equal(longer[1], area) and longer[2] == truth_area


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 300), (0, 4)])
def test_narrow_images(shape):
    """Rows of one pixel, and a plane that reaches the highest threshold from border to border."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, shape, np.uint8)
    for codes in (rng.choice(np.array([0, 100, 60_000], np.uint16), shape), np.full(shape, 65535, np.uint16)):
        inter, area, _ = Sweep([50, 50_000], [0, 3])(codes, truth)
        expected_inter, expected_area = by_hand(codes, truth, [50, 50_000], [0, 3]) if codes.size else (0, 0)
        assert np.array_equal(inter, np.broadcast_to(expected_inter, inter.shape))
        assert np.array_equal(area, np.broadcast_to(expected_area, area.shape))


def test_every_code_may_be_a_threshold():
    codes, truth = smooth(1), (smooth(2) > HALF).astype(np.uint8)
    inter, area, _ = Sweep(range(65536), [0])(codes, truth)
    for found, of in ((area, codes.ravel()), (inter, codes[truth > 0])):
        assert np.array_equal(found[:, 0], np.bincount(of, minlength=65536)[::-1].cumsum()[::-1])
