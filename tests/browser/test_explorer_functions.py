"""What the explorer makes of masks, in Chromium, against numpy: unpacked, compared, coloured, voted on."""

import itertools
from typing import Any

import numpy as np
import pytest
from explorer_page import drawn, empty_page, runs

from segfold.board.masks import pack
from segfold.tasks import Task, make_task

pytestmark = pytest.mark.browser
VOID = 255
NOTHING, HIT, MISSED, FALSE, CONFUSED, UNKNOWN = range(6)
COLOURS = {"hit": [1, 2, 3], "missed": [4, 5, 6], "false": [7, 8, 9], "confused": [10, 11, 12]}


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    opened = empty_page(browser)
    yield opened
    opened.close()


UNPACK = """packed => {
  const masks = segfold.unpack(packed);
  return Array.from({length: masks.count}, (_, i) => [masks.size(i), masks.step(i), Array.from(masks.values(i))]);
}"""


@pytest.mark.parametrize("alternate", [True, False])
def test_masks_are_unpacked(page, alternate):
    random = np.random.default_rng(3)
    masks = [drawn(random, shape, 2 if alternate else 300) for shape in [(7, 9), (1, 1), (1, 40), (31, 2), (12, 12)]]
    masks += [np.zeros((4, 5), np.uint16), np.ones((4, 5), np.uint16), np.ones((1, 1), np.uint16)]
    for mask, (size, step, values) in zip(masks, page.evaluate(UNPACK, runs(masks, alternate)), strict=True):
        assert size == list(mask.shape) and step == 1
        np.testing.assert_array_equal(np.reshape(values, mask.shape), mask)


@pytest.mark.parametrize(
    ("task", "most"),
    [
        (make_task("binary", ["salt"]), 2),
        (make_task("multiclass", ["sky", "road", "car"]), 3),
        (make_task("multilabel", [f"class {index}" for index in range(10)]), 1024),
    ],
    ids=lambda value: value.name if isinstance(value, Task) else "",
)
def test_what_the_board_packs_is_what_the_page_unpacks(page, task, most):
    random = np.random.default_rng(5)
    masks = [drawn(random, shape, most) for shape in [(11, 13), (1, 6), (6, 1), (1500, 5), (3, 2100)]]
    if task.name == "multiclass":
        masks[0][:3] = VOID
    kind = np.uint16 if most > 256 else np.uint8
    unpacked = page.evaluate(UNPACK, pack([mask.astype(kind) for mask in masks], task))
    assert [step for _, step, _ in unpacked] == [1, 1, 1, 2, 3]
    for mask, (size, step, values) in zip(masks, unpacked, strict=True):
        taken = mask[::step, ::step]
        assert size == list(taken.shape)
        np.testing.assert_array_equal(np.reshape(values, taken.shape), taken)


def test_disagreement_is_the_share_of_pixels_that_are_not_all_the_same(page):
    random = np.random.default_rng(7)
    code = """packed => {
      const masks = packed.map(segfold.unpack);
      return Array.from({length: masks[0].count}, (_, i) => segfold.masks.differing(masks.map((each) => [each, i])));
    }"""
    for several, values in itertools.product((2, 3, 5), (2, 4)):
        sets = [[drawn(random, (13, 8), values) for _ in range(6)] for _ in range(several)]
        for each in sets:
            each += [np.zeros((3, 3), np.uint16), np.full((3, 3), several % 2, np.uint16)]
        sets[-1][6] = np.eye(3, dtype=np.uint16)
        found = page.evaluate(code, [runs(each, values == 2 and index % 2 == 0) for index, each in enumerate(sets)])
        expected = [(np.stack(masks) != masks[0]).any(axis=0).mean() for masks in zip(*sets, strict=True)]
        assert found == pytest.approx(expected, abs=1e-12)
        assert expected[6] == pytest.approx(1 / 3) and expected[7] == 0
    assert page.evaluate(code, [runs([np.eye(3, dtype=int)])]) == [None]
    assert page.evaluate(code, [runs([np.zeros((2, 3), int)]), runs([np.zeros((3, 2), int)])]) == [None]


def judged(truth: np.ndarray, prediction: np.ndarray, kind: dict) -> np.ndarray:
    """Codes of errors, a class at a time."""
    task, background, only, count = kind["task"], kind["background"], kind["only"], kind["classes"]

    def held(mask: np.ndarray) -> np.ndarray:
        if task == "multilabel":
            planes = [(mask >> index) & 1 == 1 for index in range(count)]
        else:
            planes = [mask == (1 if task == "binary" else index) for index in range(count)]
        return np.stack([plane for index, plane in enumerate(planes) if only in (None, index) and index != background])

    real, found = held(truth), held(prediction)
    lacking, more = (real & ~found).any(axis=0), (found & ~real).any(axis=0)
    codes = np.full(truth.shape, NOTHING)
    codes[real.any(axis=0)] = HIT
    codes[lacking] = MISSED
    codes[more] = FALSE
    codes[lacking & more] = CONFUSED
    if task != "multilabel":
        codes[truth == VOID] = UNKNOWN
    return codes


def hatched(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.indices(shape)
    return (y + x) % 4 < 2


KINDS = [
    {"task": "binary", "background": None, "only": None, "classes": 1},
    *({"task": "multiclass", "background": b, "only": o, "classes": 4} for b in (None, 0) for o in (None, 2)),
    *({"task": "multilabel", "background": None, "only": o, "classes": 9} for o in (None, 0, 8)),
]


def masks_of(kind: dict, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    most = {"binary": 2, "multiclass": kind["classes"], "multilabel": 2 ** kind["classes"]}[kind["task"]]
    truth, prediction = (drawn(random, (14, 11), most) for _ in range(2))
    prediction[:5] = truth[:5]
    if kind["task"] == "multilabel":
        prediction[5:8] = truth[5:8] & 0b101010101
        truth[-1] = VOID  # a set of eight classes, and no void
    else:
        truth[-1] = VOID
    return truth, prediction


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_errors_have_the_colours_of_their_kind(page, kind):
    code = """([truth, prediction, width, kind, colours]) => {
      const codes = segfold.masks.compare(Uint16Array.from(truth), Uint16Array.from(prediction), kind);
      return [Array.from(codes), Array.from(segfold.masks.paintErrors(codes, width, colours))];
    }"""
    truth, prediction = masks_of(kind, 11)
    codes, painted = page.evaluate(code, [truth.ravel().tolist(), prediction.ravel().tolist(), 11, kind, COLOURS])
    expected = judged(truth, prediction, kind)
    assert {HIT, MISSED} <= set(expected.ravel().tolist()) or kind["background"] is None
    np.testing.assert_array_equal(np.reshape(codes, truth.shape), expected)
    colours = np.zeros((*truth.shape, 4), int)
    for key, colour in zip((HIT, MISSED, FALSE, CONFUSED), COLOURS.values(), strict=True):
        colours[expected == key] = [*colour, 255]
    colours[(expected == UNKNOWN) & hatched(truth.shape)] = [128, 128, 128, 255]
    np.testing.assert_array_equal(np.reshape(painted, colours.shape), colours)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_masks_have_the_colours_of_their_classes(page, kind):
    code = """([values, width, kind, count]) => [
      Array.from(segfold.masks.paintMask(Uint16Array.from(values), width, kind)),
      Array.from({length: count}, (_, index) => segfold.masks.tint(index)),
    ]"""
    mask, _ = masks_of(kind, 13)
    painted, tints = page.evaluate(code, [mask.ravel().tolist(), 11, kind, kind["classes"]])
    expected = np.zeros((*mask.shape, 4), int)
    for y, x in np.ndindex(mask.shape):
        value = int(mask[y, x])
        if kind["task"] == "multilabel":
            classes = [index for index in range(kind["classes"]) if value >> index & 1]
        elif value == VOID:
            expected[y, x] = [128, 128, 128, 255] if (x + y) % 4 < 2 else 0
            continue
        else:
            classes = [value] if kind["task"] == "multiclass" else [0] * value
        classes = [index for index in classes if index != kind["background"] and kind["only"] in (None, index)]
        if classes:
            expected[y, x] = [*tints[classes[(x + y) // 2 % len(classes)]], 255]
    np.testing.assert_array_equal(np.reshape(painted, expected.shape), expected)


def test_twenty_four_classes_have_colours_of_their_own(page):
    tints = page.evaluate("Array.from({length: 24}, (_, index) => segfold.masks.tint(index))")
    apart = [sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in itertools.combinations(tints, 2)]
    assert min(apart) > 30


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_votes_say_where_masks_differ(page, kind):
    code = """([masks, kind]) => {
      const { split, most } = segfold.masks.votes(masks.map((each) => Uint16Array.from(each)), kind);
      return [Array.from(split), Array.from(most)];
    }"""
    random = np.random.default_rng(17)
    most = {"binary": 2, "multiclass": kind["classes"], "multilabel": 8}[kind["task"]]
    masks = [drawn(random, (9, 8), most).ravel() for _ in range(5)]
    for mask in masks[1:]:
        mask[:30] = masks[0][:30]
    split, value = page.evaluate(code, [[mask.tolist() for mask in masks], kind])
    seen = np.stack(masks)
    if kind["only"] is not None:
        seen = seen >> kind["only"] & 1 if kind["task"] == "multilabel" else (seen == kind["only"]).astype(int)
    ways = min(5, 2 if kind["task"] == "binary" or kind["only"] is not None else kind["classes"])
    for place in range(seen.shape[1]):
        votes = np.bincount(seen[:, place])
        share = votes.max() / 5
        assert votes[value[place]] == votes.max()
        assert split[place] == pytest.approx(min(1, (1 - share) / (1 - 1 / ways)), abs=1e-6)
    assert not any(split[:30]) and any(split[30:]) == (len(np.unique(seen[:, 30:])) > 1)
