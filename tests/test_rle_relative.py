"""Relative runs and objects, against writers and readers in plain Python and texts written by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segfold.layouts.rle import (
    RleError,
    decode,
    decode_batch,
    decode_objects,
    encode,
    encode_batch,
    encode_objects,
    problem,
    runs_of,
)
from test_rle import ORDERS, brute

sizes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)
booleans = arrays(np.uint8, sizes, elements=st.integers(0, 1))


def walked(mask: np.ndarray, order: str) -> str:
    """Step by step: background pixels since the last run, then the run."""
    found, gap, length = [], 0, 0
    for inside in [*mask.flatten("F" if order == "column" else "C").tolist(), 0]:
        if inside:
            length += 1
        elif length:
            found += [gap, length]
            gap, length = 1, 0
        else:
            gap += 1
    return " ".join(map(str, found))


def painted(text: str, shape: tuple[int, int], order: str) -> np.ndarray:
    """As the host of SIIM-ACR reads it: go on by the start, paint the length, stay at its end."""
    pixels, place = np.zeros(shape[0] * shape[1], np.uint8), 0
    numbers = [int(word) for word in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2]):
        place += start
        pixels[place : place + length] = 1
        place += length
    return pixels.reshape(shape, order="F" if order == "column" else "C")


@settings(max_examples=150, deadline=None)
@given(booleans, st.sampled_from(ORDERS))
def test_relative_runs_as_a_walk_over_the_pixels_writes_and_reads_them(mask: np.ndarray, order: str) -> None:
    text = encode(mask, order, relative=True)
    assert text == walked(mask, order)
    assert problem(text, mask.shape, relative=True) is None
    np.testing.assert_array_equal(painted(text, mask.shape, order), mask)
    np.testing.assert_array_equal(decode(text, mask.shape, order, relative=True), mask)
    assert encode_batch(mask[None], order, True) == [text]
    np.testing.assert_array_equal(decode_batch(["", text], mask.shape, order, True)[1], mask)


def test_by_hand() -> None:
    mask = np.array([[0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0]])
    assert encode(mask) == "2 3 7 2"
    assert encode(mask, relative=True) == "1 3 2 2"
    # Three columns of two pixels: 1 1, 0 1, 1 0.
    mask = np.array([[1, 0, 1], [1, 1, 0]])
    assert encode(mask, "column", relative=True) == "0 2 1 2"
    assert encode(mask, "row", relative=True) == "0 1 1 3"
    np.testing.assert_array_equal(decode("0 2 1 2", (2, 3), relative=True), mask)
    assert runs_of("0 2 1 2", relative=True).tolist() == [[0, 2], [3, 5]]
    assert runs_of("1 2 4 2").tolist() == [[0, 2], [3, 5]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 13", "run 1 ends at pixel 13, outside the 3x4 image of 12"),
        ("3 4 3 3", "run 2 ends at pixel 13, outside"),
        ("-1 2", r"run 1 \('-1 2'\) starts before the end of the run in front of it"),
        ("1 2 -1 1", r"run 2 \('-1 1'\) starts before the end"),
        ("1 0", "shorter than one pixel"),
        ("18446744073709551617 1", "outside"),
        ("1 2 3", "3 numbers"),
        ("1 x", "'x' is not an integer"),
    ],
)
def test_bad_relative_text_is_refused_with_the_reason(text: str, says: str) -> None:
    for order in ORDERS:
        with pytest.raises(RleError, match=says):
            decode(text, (3, 4), order, relative=True)


def test_relative_runs_may_touch_and_begin_with_the_first_pixel() -> None:
    assert problem("0 1 0 2", (3, 4), relative=True) is None
    assert problem("0 1", (3, 4)) is not None
    np.testing.assert_array_equal(decode("0 1 0 2", (3, 4), relative=True), decode("1 3", (3, 4)))
    assert problem("3 4 3 2", (3, 4), relative=True) is None  # its last run ends with the last pixel
    assert problem("3 4 3 2", (3, 4)) is not None


@settings(max_examples=100, deadline=None)
@given(arrays(np.int32, sizes, elements=st.sampled_from([0, 0, 7, 3, 1000])), st.sampled_from(ORDERS), st.booleans())
def test_objects_one_by_one(objects: np.ndarray, order: str, relative: bool) -> None:
    pixels = objects.flatten("F" if order == "column" else "C").tolist()
    numbers = [number for number in dict.fromkeys(pixels) if number]
    texts = encode_objects(objects, order, relative)
    assert texts == [(walked if relative else brute)(objects == number, order) for number in numbers]
    expected = np.zeros(objects.shape, np.int32)
    for place, number in enumerate(numbers, 1):
        expected[objects == number] = place
    np.testing.assert_array_equal(decode_objects(texts, objects.shape, order, relative), expected)


def test_objects_by_hand() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]], np.uint8)
    objects = cv2.connectedComponents(mask, connectivity=8)[1]
    # Down the columns the pixel below left comes second, along the rows last.
    assert encode_objects(objects, "column") == ["1 1", "3 1", "8 1 10 1"]
    assert encode_objects(objects, "row") == ["1 1", "4 1 7 1", "9 1"]
    assert encode_objects(np.zeros((3, 4))) == []
    with pytest.raises(RleError, match="mask 1 of 2: 'x' is not an integer"):
        decode_objects(["1 1", "x 1"], (3, 4))
