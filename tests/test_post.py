"""Threshold, minimum component area, the sweep over both, and the choice between them."""

from collections import deque

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segfold.ensemble.grid import AREAS, THRESHOLDS
from segfold.ensemble.sweep import Sweep
from segfold.post import POST, MinArea, Threshold
from segfold.post.threshold import threshold_code
from segfold.schema import settings_model
from segfold.store.reader import HALF
from store_samples import smooth

masks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1))


def flood(mask):
    """Components by breadth-first search: another road to 8-connectivity."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while left:
        queue = deque([left.pop()])
        component = []
        while queue:
            y, x = queue.popleft()
            component.append((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            queue.extend(around)
        yield component


def test_half_is_the_code_of_one_half():
    assert threshold_code(0.5) == HALF == 32768
    codes = np.array([32767, 32768], np.uint16)
    assert Threshold()(codes).tolist() == [0, 1] and Threshold()(codes).dtype == np.uint8
    assert Threshold(value=0.25)(np.array([16383, 16384], np.uint16)).tolist() == [0, 1]
    with pytest.raises(ValueError, match="above 0"):
        Threshold(value=0)


@settings(max_examples=100, deadline=None)
@given(masks, st.integers(0, 12))
def test_small_components_go_and_the_rest_stays(mask, min_area):
    expected = np.zeros_like(mask)
    for component in flood(mask):
        if len(component) >= min_area:
            expected[tuple(np.transpose(component))] = 1
    given_mask = mask.copy()
    assert np.array_equal(MinArea(min_area=min_area)(mask), expected)
    assert np.array_equal(mask, given_mask)


def test_diagonal_neighbours_are_one_component_and_any_foreground_value_counts():
    mask = np.eye(4, dtype=np.uint8) * 255
    assert np.array_equal(MinArea(min_area=4)(mask), np.eye(4))
    assert not MinArea(min_area=5)(mask).any()
    assert np.array_equal(MinArea(min_area=4)(np.eye(4) > 0), np.eye(4))
    assert np.array_equal(MinArea()(mask), np.eye(4))
    with pytest.raises(ValueError, match="0 or more"):
        MinArea(min_area=-1)


def test_steps_make_settings():
    assert settings_model("components", POST["components"])().model_dump() == {"min_area": 0}
    assert settings_model("threshold", POST["threshold"])().model_dump() == {"value": 0.5}


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
