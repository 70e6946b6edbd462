"""Post steps against other libraries and brute force; the decision that is made of them."""

from collections import deque
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from segfold.post import POST, Decision, EmptyingStep, MaskSizes, MaskStep, ProbabilityStep, Seen
from segfold.post.areas import AREAS, LARGER_AREAS, areas_up_to, even_ratios
from segfold.post.components import MinArea
from segfold.post.constant import Constant
from segfold.post.gate import Gate
from segfold.post.holes import Holes
from segfold.post.largest import Largest
from segfold.post.smooth import Smooth
from segfold.post.threshold import threshold_code
from segfold.schema import settings_model
from segfold.store.codes import HALF, to_codes
from store_samples import smooth

masks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1))
SEEN = Seen(lambda: pytest.fail("asked for the image"))


def flood(mask: np.ndarray, corners: bool = True) -> list[list[tuple[int, int]]]:
    """Components in reading order by breadth-first search, over corners too or over sides alone."""
    near = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if corners or abs(y) + abs(x) == 1]
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        queue = deque([min(left)])
        left -= {queue[0]}
        component = []
        while queue:
            y, x = queue.popleft()
            component.append((y, x))
            around = {(y + dy, x + dx) for dy, dx in near} & left
            left -= around
            queue.extend(around)
        found.append(component)
    return found


def drawn(shape: tuple[int, ...], components: Any) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for component in components:
        mask[tuple(np.transpose(component))] = 1
    return mask


def test_half_is_the_code_of_one_half() -> None:
    assert threshold_code(0.5) == HALF == 32768
    codes = np.array([[32767, 32768]], np.uint16)
    assert Decision()(codes, SEEN).tolist() == [[0, 1]] and Decision()(codes, SEEN).dtype == np.uint8
    assert Decision(0.25)(np.array([[16383, 16384]], np.uint16), SEEN).tolist() == [[0, 1]]


@settings(max_examples=100, deadline=None)
@given(masks, st.integers(0, 12))
def test_small_components_go_and_the_rest_stays(mask: np.ndarray, min_area: int) -> None:
    expected = drawn(mask.shape, [component for component in flood(mask) if len(component) >= min_area])
    given_mask = mask.copy()
    assert np.array_equal(MinArea(min_area=min_area)(mask, SEEN), expected)
    assert np.array_equal(mask, given_mask)


def test_diagonal_neighbours_are_one_component() -> None:
    mask = np.eye(4, dtype=np.uint8)
    assert np.array_equal(MinArea(min_area=4)(mask, SEEN), mask)
    assert not MinArea(min_area=5)(mask, SEEN).any()
    assert np.array_equal(Largest()(mask, SEEN), mask)


@settings(max_examples=100, deadline=None)
@given(masks, st.integers(0, 12))
def test_holes_are_what_cannot_reach_the_border(mask: np.ndarray, max_area: int) -> None:
    height, width = mask.shape
    expected = mask.copy()
    for component in flood(1 - mask, corners=False):
        inside = all(0 < y < height - 1 and 0 < x < width - 1 for y, x in component)
        if inside and len(component) <= max_area:
            expected[tuple(np.transpose(component))] = 1
    given_mask = mask.copy()
    assert np.array_equal(Holes(max_area=max_area)(mask, SEEN), expected)
    assert np.array_equal(mask, given_mask)
    assert np.array_equal(Holes(max_area=10**9)(mask, SEEN), scipy.ndimage.binary_fill_holes(mask))


@settings(max_examples=100, deadline=None)
@given(masks, st.integers(1, 4))
def test_the_largest_components_stay(mask: np.ndarray, count: int) -> None:
    kept = sorted(flood(mask), key=lambda component: -len(component))[:count]  # stable: the first of equals
    assert np.array_equal(Largest(count=count)(mask, SEEN), drawn(mask.shape, kept))


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("size", [101, 3])
def test_smoothing_is_scipys(sigma: float, size: int) -> None:
    codes = np.random.default_rng(0).integers(0, 65536, (size, size + 7), np.uint16)
    found = Smooth(sigma=sigma)(codes, SEEN)
    expected = scipy.ndimage.gaussian_filter(codes.astype(float), sigma, mode="reflect", radius=int(np.ceil(4 * sigma)))
    assert found.dtype == np.uint16 and found.shape == codes.shape
    np.testing.assert_allclose(found, expected, atol=1.01)
    full = np.full((5, 5), 65535, np.uint16)
    assert np.array_equal(Smooth(sigma=sigma)(full, SEEN), full)


def test_constant_images_are_emptied() -> None:
    mask = np.ones((3, 4), np.uint8)
    black, grey = np.zeros((3, 4, 3), np.uint8), np.full((3, 4, 1), 900, np.uint16)
    colour = np.broadcast_to(np.array([3, 5, 7], np.uint8), (3, 4, 3))
    for image in (black, grey, colour):
        assert not Constant()(mask, Seen(lambda image=image: image)).any()
        changed = image.copy()
        changed[2, 3, 0] += 1
        assert np.array_equal(Constant()(mask, Seen(lambda image=changed: image)), mask)


@pytest.mark.parametrize("least", [0.0, 0.05, 0.5, 1.0])
def test_the_gate_asks_for_the_images_own_probability(least: float) -> None:
    mask, code = np.ones((2, 2), np.uint8), int(to_codes(least))
    gate = Gate(least=least)
    assert np.array_equal(gate(mask, Seen(SEEN.image, code)), mask)
    assert np.array_equal(gate(mask, SEEN), mask)  # nothing is known
    if code:
        assert not gate(mask, Seen(SEEN.image, code - 1)).any()


def test_steps_are_taken_in_their_order_those_of_probabilities_first() -> None:
    """A ring of 12 pixels around a hole of 4: filled first it is 16 pixels, else it is removed before."""
    codes = np.zeros((8, 8), np.uint16)
    codes[2:6, 2:6], codes[3:5, 3:5] = 60000, 0
    holes, components = {"max_area": 4}, {"min_area": 13}
    filled = Decision.of(0.5, {"holes": holes, "components": components})(codes, SEEN)
    removed = Decision.of(0.5, {"components": components, "holes": holes})(codes, SEEN)
    assert filled.sum() == 16 and not removed.any()
    noisy = smooth(3) // 2 + np.random.default_rng(0).integers(0, 20000, (101, 101)).astype(np.uint16)
    wanted = MinArea(min_area=30)((Smooth(sigma=2.0)(noisy, SEEN) >= threshold_code(0.4)).astype(np.uint8), SEEN)
    for steps in (
        {"smooth": {"sigma": 2.0}, "components": {"min_area": 30}},
        {"components": {"min_area": 30}, "smooth": {"sigma": 2.0}},
    ):
        assert np.array_equal(Decision.of(0.4, steps)(noisy, SEEN), wanted)
    both = {"holes": holes, "components": components}
    assert Decision.of(0.5, both).settings == both and list(Decision.of(0.5, both).settings) == list(both)


@pytest.mark.parametrize("name", list(POST))
def test_every_step_has_settings_to_try_that_its_signature_takes(name: str) -> None:
    step = POST[name]
    assert issubclass(step, ProbabilityStep | MaskStep) and (
        not issubclass(step, EmptyingStep) or issubclass(step, MaskStep)
    )
    model = settings_model(name, step)
    assert model().model_dump() == model().model_dump() and (step.__doc__ or "").strip()
    for sizes in (
        MaskSizes(1, 0),
        MaskSizes(1, 1),
        MaskSizes(101**2, 10201),
        MaskSizes(4000**2, 10**6),
        MaskSizes(2**28, 10**8),
    ):
        tried = [model(**values).model_dump() for values in step.grid(sizes)]
        assert tried == [dict(values) for values in step.grid(sizes)] and tried
        assert len({str(values) for values in tried}) == len(tried) <= 20
        mask = np.eye(1 if sizes.pixels == 1 else 30, dtype=np.uint8)
        seen = Seen(lambda image=mask[..., None]: image, 7)  # type: ignore[misc]
        for values in tried:
            work = mask if issubclass(step, MaskStep) else mask.astype(np.uint16)
            found = step(**values)(work, seen)  # type: ignore[operator]
            assert found.shape == work.shape and found.dtype == work.dtype


@pytest.mark.parametrize(
    ("name", "settings_"),
    [
        ("components", {"min_area": -1}),
        ("smooth", {"sigma": 0}),
        ("largest", {"count": 0}),
        ("crf", {"colour_sigma": 0.0}),
        ("gate", {"least": 1.1}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings_: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_model(name, POST[name])(**settings_)


@pytest.mark.parametrize("largest", [0, 1, 99, 100, 101, 137, 4900, 10201, 2048**2, 12_000_000])
def test_the_areas_that_are_tried_grow_with_the_masks_and_their_number_does_not(largest: int) -> None:
    areas = areas_up_to(largest)
    assert set(AREAS) <= set(areas) and areas == sorted(set(areas)) and len(areas) <= len(AREAS) + LARGER_AREAS
    assert areas[-1] <= max(largest, 100) and areas[-1] >= 0.9 * largest
    # Even steps: none is more than twice as far from the last as it must be.
    step = max(largest, 100) ** (1 / LARGER_AREAS) / 100 ** (1 / LARGER_AREAS)
    assert all(b / a <= 1.2 * step for a, b in pairwise(areas) if a >= 100)
    few = even_ratios(5, max(largest, 5), 5)
    assert few == sorted(set(few)) and len(few) <= 5 and few[0] == 5 and few[-1] >= 0.9 * max(largest, 5)
