"""The explorer's functions of plain values, in Chromium, against Python: order, filters, zoom, and what is in sight."""

import itertools
from typing import Any

import numpy as np
import pytest
from explorer_page import drawn, empty_page, runs

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    opened = empty_page(browser)
    yield opened
    opened.close()


def model(length: int = 40) -> dict:
    """Rows with gaps, ties and two runs, the second of which lacks some."""
    random = np.random.default_rng(19)

    def gaps(values: np.ndarray) -> list:
        return [None if lost else value for value, lost in zip(values.tolist(), random.random(length) < 0.2)]

    return {
        "set": "train",
        "ids": [f"Id{number:03}" for number in random.permutation(length)],
        "coverage": gaps(random.random(length).round(1)),
        "areas": {"sky": random.integers(0, 3, length).tolist()},
        "tables": {"depth: m": gaps(random.integers(50, 90, length))},
        "groups": None,
        "disagreement": None,
        "runs": [
            {
                "name": name,
                "scores": {"iou": gaps(random.random(length).round(2))},
                "parts": [{"fold": 0, "masks": None}, {"fold": 1, "masks": None}],
                "part": random.integers(-1, 2, length).tolist(),
                "place": [0] * length,
            }
            for name in ("first", "run:odd")
        ],
    }


SCORING = {"metric": "iou", "of": "run:first"}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("key", ["score", "coverage", "table:depth: m", "fold", "area:sky", "id"])
def test_images_are_ordered_and_what_is_unknown_comes_last(page, key, descending):
    rows = model()
    code = """([model, key, scoring, descending]) => {
      const column = segfold.explorer.columnOf(model, key, scoring);
      return segfold.explorer.ordered(model, model.ids.map((_, row) => row), column, descending);
    }"""
    found = page.evaluate(code, [rows, key, SCORING, descending])
    parts = [[None if part < 0 else part for part in run["part"]] for run in rows["runs"]]
    column = {
        "score": rows["runs"][0]["scores"]["iou"],
        "coverage": rows["coverage"],
        "table:depth: m": rows["tables"]["depth: m"],
        "fold": [second if first is None else first for first, second in zip(*parts, strict=True)],
        "area:sky": rows["areas"]["sky"],
        "id": rows["ids"],
    }[key]
    known = sorted((row for row in range(40) if column[row] is not None), key=lambda row: rows["ids"][row])
    known.sort(key=lambda row: column[row], reverse=descending)
    unknown = sorted((row for row in range(40) if column[row] is None), key=lambda row: rows["ids"][row])
    if descending and key != "id":  # Python turns ties round as well: by id again among equal ones
        known.sort(key=lambda row: (-column[row], rows["ids"][row]))
    assert found == known + unknown and sorted(found) == list(range(40))


@pytest.mark.parametrize("of", ["run:first", "run:run:odd", "lowest", "difference"])
def test_scores_of_one_run_the_lowest_and_how_far_they_are_apart(page, of):
    rows = model()
    found = page.evaluate("([model, of]) => segfold.explorer.scoresOf(model, 'iou', of)", [rows, of])
    for row, pair in enumerate(zip(*(run["scores"]["iou"] for run in rows["runs"]), strict=True)):
        there = [value for value in pair if value is not None]
        expected = {
            "run:first": pair[0],
            "run:run:odd": pair[1],
            "lowest": min(there, default=None),
            "difference": None if len(there) < 2 else max(there) - min(there),
        }[of]
        assert found[row] == expected


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, lambda m, row: True),
        (
            {"ranges": {"score": [0.25, 0.75]}},
            lambda m, row: 0.25 <= (m["runs"][0]["scores"]["iou"][row] or -1) <= 0.75,
        ),
        ({"ranges": {"coverage": [0.3, 9]}}, lambda m, row: (m["coverage"][row] or -1) >= 0.3),
        ({"ranges": {"table:depth: m": [0, 70]}}, lambda m, row: (m["tables"]["depth: m"][row] or 99) <= 70),
        ({"fold": "1"}, lambda m, row: next((p for p in (r["part"][row] for r in m["runs"]) if p >= 0), None) == 1),
        ({"holds": "sky"}, lambda m, row: m["areas"]["sky"][row] > 0),
        ({"id": "iD01"}, lambda m, row: "id01" in m["ids"][row].lower()),
        (
            {"id": "2", "holds": "sky", "ranges": {"coverage": [0.5, 1]}},
            lambda m, row: "2" in m["ids"][row] and m["areas"]["sky"][row] > 0 and (m["coverage"][row] or 0) >= 0.5,
        ),
    ],
)
def test_images_are_filtered(page, filters, passes):
    rows = model()
    found = page.evaluate(
        "([m, filters, scoring]) => segfold.explorer.kept(m, filters, scoring)", [rows, filters, SCORING]
    )
    expected = [row for row in range(40) if passes(rows, row)]
    assert found == expected and expected


def test_ranges_are_read_with_either_end_left_out(page):
    texts = ["1..2", "..2", "1..", "-0.5..1e3", "..", "", "1", "a..2", "1..2..3", " 1 .. 2 "]
    found = page.evaluate("texts => texts.map((text) => segfold.explorer.rangeOf(text)?.map(String) ?? null)", texts)
    expected = [["1", "2"], ["-Infinity", "2"], ["1", "Infinity"], ["-0.5", "1000"], *[None] * 5, ["1", "2"]]
    assert found == expected


def test_disagreement_of_all_images_counts_the_runs_that_have_a_mask(page):
    random = np.random.default_rng(23)
    masks = [[drawn(random, (6, 7), 2) for _ in range(9)] for _ in range(3)]
    missing = [{0, 1, 2}, {1, 2, 4}, {2}]
    code = """async ([packed, missing]) => {
      const ids = packed[0].counts.map((_, row) => String(row));
      const runs = packed.map((each, k) => ({
        parts: [{masks: segfold.unpack(each)}], part: ids.map((_, row) => missing[k].includes(row) ? -1 : 0),
        place: ids.map((_, row) => row),
      }));
      return segfold.explorer.disagreements({ids, runs});
    }"""
    found = page.evaluate(code, [[runs(each) for each in masks], [sorted(each) for each in missing]])
    for row, share in enumerate(found):
        there = [masks[k][row] for k in range(3) if row not in missing[k]]
        expected = None if len(there) < 2 else float((np.stack(there) != there[0]).any(axis=0).mean())
        assert share == (None if expected is None else pytest.approx(expected, abs=1e-12))
    assert found[1] is None and found[2] is None and found[0] is not None


def test_a_point_under_the_pointer_stays_there_while_an_image_is_enlarged(page):
    code = """([view, factor, size, frame, point]) => {
      const { placed, zoomed } = segfold.explorer.zoom;
      const before = placed(view, size, frame), next = zoomed(view, factor, size, frame, point), after = placed(next, size, frame);
      const under = (at) => [(point[0] - at.left) / at.width, (point[1] - at.top) / at.height];
      return [under(before), under(after), next, after];
    }"""
    view = {"zoom": 3, "x": 0.4, "y": 0.6}
    before, after, _, _ = page.evaluate(code, [view, 1.7, [101, 101], [300, 400], [130, 222]])
    assert after == pytest.approx(before, abs=1e-9)
    # Back to the whole image it stands in the middle, whatever was looked at.
    _, _, whole, place = page.evaluate(code, [view, 0.01, [50, 100], [300, 400], [9, 9]])
    assert whole == {"zoom": 1, "x": 0.5, "y": 0.5}
    assert place == {"left": 0, "top": 50, "width": 400, "height": 200, "scale": 4}


@pytest.mark.parametrize("size", [[101, 101], [1, 2000], [2000, 1], [1, 1]])
def test_nothing_beyond_an_edge_is_looked_at(page, size):
    code = """([view, size, frame]) => segfold.explorer.zoom.placed(segfold.explorer.zoom.held(view, size, frame), size, frame)"""
    for zoom, x, y in itertools.product((1, 2.5, 64), (0, 0.3, 1), (0, 0.7, 1)):
        at = page.evaluate(code, [{"zoom": zoom, "x": x, "y": y}, size, [200, 300]])
        for left, long, room in ((at["left"], at["width"], 300), (at["top"], at["height"], 200)):
            assert long / room > 1e-6
            if long <= room:
                assert left == pytest.approx((room - long) / 2)
            else:
                assert left <= 1e-9 and left + long >= room - 1e-6


def test_a_view_in_the_address_is_read_back(page):
    code = "text => segfold.explorer.zoom.viewText(segfold.explorer.zoom.viewOf(text))"
    assert page.evaluate(code, "2.5,0.25,0.75") == "2.5,0.25,0.75"
    assert [page.evaluate(code, text) for text in ("", "0,0,0", "2,3,0", "x", "99999,0.5,0.5")] == [""] * 5


def test_only_the_thumbnails_in_sight_and_a_few_beside_them_are_made(page):
    code = "arguments => segfold.explorer.seen(...arguments)"
    for count, across, offset in itertools.product((0, 1, 10, 4000), (1, 3), (0, 55, 1000, 99_999)):
        first, behind = page.evaluate(code, [count, across, 80, offset, 400])
        in_sight = [n for n in range(count) if n // across * 80 < offset + 400 and n // across * 80 + 80 > offset]
        assert set(in_sight) <= set(range(first, behind)) and max(0, behind - first) <= across * 11


def test_a_thumbnail_is_found_on_its_sheet(page):
    thumbs = {"columns": 3, "rows": 2, "sheets": ["a", "b"]}
    found = page.evaluate("thumbs => [0, 2, 3, 5, 6, 11].map((place) => segfold.explorer.spot(thumbs, place))", thumbs)
    assert [tuple(each.values()) for each in found] == [
        ("a", 0, 0),
        ("a", 2, 0),
        ("a", 0, 1),
        ("a", 2, 1),
        ("b", 0, 0),
        ("b", 2, 1),
    ]


def test_panels_are_as_large_as_the_room_allows(page):
    code = "([count, room, size]) => segfold.explorer.arranged(count, room, size, false)"
    for count, size in itertools.product((1, 2, 5, 9), ([101, 101], [100, 300], [300, 100])):
        columns, wide, high = page.evaluate(code, [count, [1000, 700], size])
        lines = -(-count // columns)
        assert columns * wide + (columns - 1) * 10 <= 1000.01 and lines * (high + 46) + (lines - 1) * 10 <= 700.01
        assert columns == 1 or wide >= 140
        shape = size[1] / size[0]
        for other in range(1, min(count, 6) + 1):
            rows = -(-count // other)
            largest = min((1000 - 10 * (other - 1)) / other, ((700 - 10 * (rows - 1)) / rows - 46) * shape)
            assert min(wide, high * shape) >= largest - 1.01


def test_of_many_runs_twelve_are_read_and_the_first_is_there_before_the_others_are_asked_for(page: Any) -> None:
    masks = runs([np.eye(4, dtype=np.uint16), np.ones((4, 4), np.uint16)])
    code = """async (masks) => {
      const asked = [], seen = [];
      const known = segfold.load;
      segfold.load = async (name) => {
        asked.push(name);
        if (name === "images/2-fold0") throw new Error("not there");
        return name === "train"
          ? { ids: ["a", "b"], height: 4, width: 4, truth: masks }
          : { fold: 0, ids: ["b", "a"], scores: { iou: [0.5, 1] }, masks };
      };
      const runs = Array.from({ length: 14 }, (_, place) => ({
        name: `run ${place}`, folds: [{ number: 0, images_script: `images/${place}-fold0` }],
      }));
      const begin = async (model) => {
        await new Promise((go) => setTimeout(go, 20));
        seen.push([...asked], model.runs.map((entry) => entry.reason));
      };
      const model = await segfold.explorer.readValidation({ train_script: "train" }, runs, () => {}, begin);
      segfold.load = known;
      const values = (entry) => [...segfold.explorer.maskOf(entry, 0)[0].values(segfold.explorer.maskOf(entry, 0)[1])];
      return [seen, model.chosen, model.runs.map((entry) => entry.reason), values(model.runs[11])];
    }"""
    [[asked, waiting], chosen, reasons, values] = page.evaluate(code, masks)
    assert asked == ["train", "images/0-fold0"]
    assert waiting == [None, *["being read"] * 11]
    assert chosen == 14 and len(reasons) == 12
    assert reasons == [None, None, "not there", *[None] * 9]
    assert values == [1] * 16
