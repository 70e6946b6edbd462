"""Masks as run lengths: packed by hand, and back."""

import numpy as np
import pytest

from segfold.board.masks import SIDE, pack, unpack
from segfold.tasks import VOID, make_task

BINARY = make_task("binary", ["salt"])
CLASSES = make_task("multiclass", ["sky", "road", "car"])
LABELS = make_task("multilabel", [f"label {number}" for number in range(10)])


def test_runs_are_those_counted_by_hand() -> None:
    begins_empty = np.array([[0, 0, 1], [1, 0, 1]], np.uint8)
    begins_full = np.array([[1, 1, 0], [0, 0, 0]], np.uint8)
    assert pack([begins_empty, begins_full], BINARY) == {
        "height": 2,
        "width": 3,
        "step": 1,
        "counts": [4, 3],
        "lengths": [2, 2, 1, 1, 0, 2, 4],
        "values": None,
    }
    # A run may go on in the next row; void is a value like others.
    indices = np.array([[0, 2], [2, VOID], [VOID, VOID]], np.uint8)
    assert pack([indices], CLASSES) == {
        "height": 3,
        "width": 2,
        "step": 1,
        "counts": [3],
        "lengths": [1, 2, 3],
        "values": [0, 2, VOID],
    }
    bits = np.array([[1 << 9, 3, 3, 0]], np.uint16)
    assert pack([bits], LABELS) | {"height": 1} == {
        "height": 1,
        "width": 4,
        "step": 1,
        "counts": [3],
        "lengths": [1, 2, 1],
        "values": [512, 3, 0],
    }


def test_masks_of_one_value_are_one_run() -> None:
    packed = pack([np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)], BINARY)
    assert (packed["counts"], packed["lengths"]) == ([1, 2], [4, 0, 4])


@pytest.mark.parametrize("task, top", [(BINARY, 2), (CLASSES, 3), (LABELS, 1024)])
@pytest.mark.parametrize("shapes", [[(7, 5)] * 4, [(7, 5), (1, 1), (1, 9), (30, 2)]])
def test_what_was_packed_comes_out_again(task, top, shapes) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    masks = [rng.integers(0, top, shape).astype(task.dtype) for shape in shapes]
    packed = pack(iter(masks), task)
    for index, mask in enumerate(masks):
        assert np.array_equal(unpack(packed, index), mask)
    assert np.array_equal(unpack(packed, -1), masks[-1])
    assert isinstance(packed["height"], int) == (len(set(shapes)) == 1)
    ends = np.cumsum(packed["counts"])
    for shape, end, count in zip(shapes, ends, packed["counts"]):
        assert sum(packed["lengths"][end - count : end]) == shape[0] * shape[1]


def test_a_mask_that_is_no_block_of_memory_is_packed_as_it_reads() -> None:
    mask = np.random.default_rng(2).integers(0, 2, (6, 9)).astype(np.uint8)
    assert pack([mask.T], BINARY) == pack([np.ascontiguousarray(mask.T)], BINARY)


@pytest.mark.parametrize(
    "shape, step", [((SIDE, 3), 1), ((3, SIDE + 1), 2), ((2 * SIDE, 7), 2), ((2 * SIDE + 1, 2 * SIDE), 3)]
)
def test_of_a_large_mask_every_so_many_rows_and_columns_one_is_taken(shape: tuple[int, int], step: int) -> None:
    mask = np.random.default_rng(3).integers(0, 2, shape).astype(np.uint8)
    packed = pack([mask], BINARY)
    assert packed["step"] == step and max(packed["height"], packed["width"]) <= SIDE
    assert np.array_equal(unpack(packed, 0), mask[::step, ::step])


def test_sizes_and_steps_are_listed_where_they_differ() -> None:
    packed = pack([np.zeros((2, 5), np.uint8), np.zeros((2, SIDE * 2), np.uint8)], BINARY)
    assert (packed["height"], packed["width"], packed["step"]) == ([2, 1], [5, SIDE], [1, 2])


def test_no_masks() -> None:
    assert pack([], BINARY) == {"height": [], "width": [], "step": [], "counts": [], "lengths": [], "values": None}
    assert pack([], CLASSES)["values"] == []
