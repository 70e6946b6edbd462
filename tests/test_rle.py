"""RLE against pycocotools, a brute-force encoder and texts written by hand."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from segfold.errors import SegfoldError
from segfold.layouts.rle import RleError, decode, decode_batch, encode, encode_batch, problem

ORDERS = ("column", "row")


def brute(mask: np.ndarray, order: str) -> str:
    """One pixel after the other, in plain Python."""
    pixels = (mask > 0).flatten("F" if order == "column" else "C").tolist()
    runs: list[list[int]] = []
    for number, inside in enumerate(pixels, start=1):
        if inside and runs and runs[-1][0] + runs[-1][1] == number:
            runs[-1][1] += 1
        elif inside:
            runs.append([number, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


def coco_text(mask: np.ndarray) -> str:
    """pycocotools' own runs (alternating background and foreground) as start and length."""
    packed = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    counts, value, shift, at = [], 0, 0, 0
    for byte in packed["counts"]:  # its LEB128 variant: 6 bits a byte, differences to the run two before
        byte -= 48
        value |= (byte & 0x1F) << shift
        shift += 5
        if not byte & 0x20:
            if byte & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    runs = []
    for i, count in enumerate(counts):
        if i % 2:
            runs += [at + 1, count]
        at += count
    return " ".join(map(str, runs))


def smooth_masks(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Blobs: long runs, as in real masks; a few are empty and one is full."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    a, b, c = rng.normal(0, 6, (3, count, 1, 1))
    masks = (np.sin(a * x + b * y + c) > 0.3).astype(np.uint8)
    masks[::5] = 0
    masks[-1] = 1
    return masks


sizes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.uint8, sizes, elements=st.sampled_from([0, 0, 1, 255]), fill=st.just(0)),
    st.sampled_from(ORDERS),
)
@example(np.ones((3, 5), np.uint8), "column")
@example(np.zeros((3, 5), np.uint8), "row")
@example(np.eye(9, dtype=np.uint8), "column")
def test_encode_equals_brute_force_and_decodes_to_the_mask(mask: np.ndarray, order: str) -> None:
    text = encode(mask, order)
    assert text == brute(mask, order)
    assert problem(text, mask.shape) is None
    back = decode(text, mask.shape, order)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, mask > 0)


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, sizes, elements=st.integers(0, 1)))
def test_row_order_is_column_order_of_the_transpose(mask: np.ndarray) -> None:
    assert encode(mask, "row") == encode(mask.T, "column")
    np.testing.assert_array_equal(
        decode(encode(mask), mask.shape[::-1], "row"), decode(encode(mask), mask.shape, "column").T
    )


@pytest.mark.parametrize("shape", [(101, 101), (97, 211), (300, 33), (1, 9001), (9001, 1), (1024, 1024)])
def test_equals_pycocotools(shape: tuple[int, int]) -> None:
    # The longer sides pass the length of the blocks in which the encoder compares pixels.
    noise = (np.random.default_rng(0).random((1, *shape)) < 0.4).astype(np.uint8)
    for mask in [*smooth_masks(6, *shape, seed=1), *noise]:
        text = encode(mask)
        assert text == coco_text(mask)
        np.testing.assert_array_equal(decode(text, shape), coco.decode(coco.encode(np.asfortranarray(mask))))


def test_hand_written() -> None:
    mask = np.array([[0, 1, 1], [1, 1, 0]])
    assert encode(mask, "column") == "2 4"
    assert encode(mask, "row") == "2 4"
    mask = np.array([[1, 0, 0], [1, 0, 1]])
    assert encode(mask, "column") == "1 2 6 1"
    assert encode(mask, "row") == "1 1 4 1 6 1"


def test_a_run_reaches_the_last_pixel_and_the_first() -> None:
    mask = np.zeros((101, 101), np.uint8)
    mask[-1, -1] = 1
    assert encode(mask) == encode(mask, "row") == "10201 1"
    mask[-3:, -1] = 1
    assert encode(mask) == "10199 3"
    mask[:] = 1
    assert encode(mask) == "1 10201"
    np.testing.assert_array_equal(decode("1 10201", (101, 101)), mask)


@pytest.mark.parametrize("order", ORDERS)
def test_foreground_is_above_zero_in_any_dtype_and_layout(order: str) -> None:
    base = np.arange(12).reshape(3, 4) % 3  # 0, 1 and 2: neighbours 1 and 2 are one run
    expected = brute(base, order)
    for mask in (
        base.astype(np.uint16) * 30000,
        base.astype(np.float32) / 7,
        base > 0,
        base.astype(np.int8) - (base == 0),
        np.asfortranarray(base),
        np.repeat(base, 2, axis=1)[:, ::2],
    ):
        assert encode(mask, order) == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [1, 3])
def test_batch_equals_one_by_one(monkeypatch: pytest.MonkeyPatch, order: str, threads: int) -> None:
    monkeypatch.setattr("segfold.layouts.rle.cores", lambda: threads)
    monkeypatch.setattr("segfold.layouts.rle._PIXELS_PER_THREAD", 1000)
    masks = smooth_masks(37, 50, 61, seed=2)
    masks[3] = np.random.default_rng(1).random((50, 61)) < 0.5  # much longer than the others
    texts = encode_batch(masks, order)
    assert texts == [encode(mask, order) for mask in masks]
    back = decode_batch(texts, (50, 61), order)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, masks)
    with pytest.raises(RleError, match=r"mask 36 of 37: '1\.5' is not an integer"):
        decode_batch([*texts[:36], "1.5 2"], (50, 61), order)
    with pytest.raises(RleError, match="mask 36 of 37: the mask is nan"):
        decode_batch([*texts[:36], float("nan")], (50, 61), order)  # type: ignore[list-item]


def test_kernels_run_side_by_side_in_threads() -> None:
    masks = smooth_masks(16, 64, 64, seed=3)
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(encode, list(masks) * 5))
        back = list(pool.map(lambda text: decode(text, (64, 64)), texts))
    assert texts == encode_batch(np.concatenate([masks] * 5))
    np.testing.assert_array_equal(back, np.concatenate([masks] * 5))


def test_empty_things() -> None:
    assert encode_batch(np.zeros((0, 4, 4), np.uint8)) == []
    assert decode_batch([], (4, 4)).shape == (0, 4, 4)
    assert encode(np.zeros((0, 7))) == ""
    assert decode("", (3, 2)).tolist() == decode(" \t\n", (3, 2)).tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2 x 4", "'x' is not an integer"),
        ("1 2.0", r"'2\.0' is not an integer"),
        ("1,2", "'1,2' is not an integer"),
        ("1 -", "'-' is not an integer"),
        ("1 +2", r"'\+2' is not an integer"),
        ("1 2 ٣ 1", "'٣' is not an integer"),
        # What Python takes for blank and the host's rules do not.
        ("1\x1f2", r"'1\\x1f2' is not an integer"),
        ("\x1c", r"'\\x1c' is not an integer"),
        ("1 2\u2003", r"'2\\u2003' is not an integer"),
        ("1 2 4", "3 numbers, expected pairs"),
        ("0 2", r"run 1 \('0 2'\) starts before pixel 1"),
        ("-3 2", "run 1 .* starts before pixel 1"),
        ("3 0", "run 1 .* shorter than one pixel"),
        ("3 -1", "run 1 .* shorter than one pixel"),
        ("1 1 12 2", r"run 2 \('12 2'\) ends at pixel 13, outside the 3x4 image of 12"),
        ("13 1", "outside"),
        ("1 18446744073709551617", "outside"),  # 2**64 + 1 must not wrap round to 1
        ("18446744073709551617 1", "outside"),
        ("5 1 1 1", "run 2 .* sorted"),
        ("1 3 3 2", "run 2 .* overlaps"),
        ("4 1 4 1", "run 2 .* overlaps"),
    ],
)
def test_bad_text_is_refused_with_the_reason(text: str, says: str) -> None:
    assert problem(text, (3, 4)) is not None
    for order in ORDERS:
        with pytest.raises(RleError, match=says):
            decode(text, (3, 4), order)
    assert issubclass(RleError, SegfoldError)


def test_legal_oddities() -> None:
    assert problem("1 2 3 2", (3, 4)) is None  # runs that touch
    assert problem("  1\t2 \n", (3, 4)) is None
    assert problem("12 1", (3, 4)) is None
    np.testing.assert_array_equal(decode("1 2 3 2", (3, 4)), decode("1 4", (3, 4)))
    np.testing.assert_array_equal(decode("1 2 3 2", (3, 4), "row"), decode("1 4", (3, 4), "row"))


# White space to Python, and none to a run-length text: control characters, and what only Unicode calls a space.
STRANGE = "\x00\x1c\x1f\x85\xa0\u2003\u2028\ufeff\ud800²"


@pytest.mark.parametrize("mark", STRANGE, ids=ascii)
def test_a_strange_character_is_shown_in_one_line(mark: str) -> None:
    for text, word in (
        (f"1{mark}2", f"1{mark}2"),
        (f"{mark} 1 2", mark),
        (f"1 2{mark}", f"2{mark}"),
        (mark * 99, mark * 30),
    ):
        said = problem(text, (3, 4))
        assert said == f"{word!r} is not an integer" and said.isprintable()
        with pytest.raises(RleError) as error:
            decode(text, (3, 4))
        assert str(error.value) == said


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789 \t\n-x" + STRANGE, max_size=12))
@example("1 1 \x1f 2 1")
def test_problem_agrees_with_a_plain_check(text: str) -> None:
    def fine() -> bool:
        tokens = re.split("[ \t\n]+", text.strip(" \t\n")) if text.strip(" \t\n") else []
        if not all(re.fullmatch("-?[0-9]+", token) for token in tokens):
            return False
        numbers = [int(token) for token in tokens]
        pairs = list(zip(numbers[::2], numbers[1::2]))
        taken = [pixel for start, length in pairs for pixel in range(start, start + min(length, 1000))]
        return (
            len(numbers) % 2 == 0
            and all(length > 0 for _, length in pairs)
            and all(1 <= pixel <= 30 for pixel in taken)
            and taken == sorted(set(taken))
        )

    assert (problem(text, (5, 6)) is None) == fine()


def test_text_that_is_no_text() -> None:
    assert "keep_default_na" in (problem(float("nan"), (2, 2)) or "")  # type: ignore[arg-type]
    with pytest.raises(RleError, match="keep_default_na"):
        decode(None, (2, 2))  # type: ignore[arg-type]


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="H×W"):
        encode(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="N×H×W"):
        encode_batch(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="order"):
        encode(np.zeros((3, 4)), "columns")  # type: ignore[arg-type]


def test_real_texts_survive_the_round_trip() -> None:
    root = os.environ.get("SEGFOLD_DATA_ROOT")
    if not root:
        pytest.skip("SEGFOLD_DATA_ROOT is not set: no real data")
    path = Path(root) / "tgs-salt" / "train.csv"
    texts = pd.read_csv(path, dtype=str, keep_default_na=False)["rle_mask"].tolist()
    masks = decode_batch(texts, (101, 101))
    assert encode_batch(masks) == texts
    assert not masks.all(axis=(1, 2)).any()  # no real mask covers everything
