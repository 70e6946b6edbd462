"""What is wrong with a table of rows by class or object, one line each; what was written is good."""

from pathlib import Path

import pytest

from segfold.competition import Competition
from segfold.submission.check import check_submission
from segfold.submission.findings import Findings
from segfold.submission.write import write_submission
from submission_forms import ALL, CELLS, CHESTS, IDS, ORGANS, SHAPES, SHIPS, STEEL, random_masks

FORMS = {"steel": STEEL, "organs": ORGANS, "ships": SHIPS, "chests": CHESTS, "cells": CELLS}
TWO = {"a": (2, 3), "b": (2, 3)}
GOOD = {
    "steel": "ImageId,rle_mask\n" + "".join(f"{name}.jpg_{label},1 2\n" for name in "ab" for label in (1, 2, 3)),
    "organs": "id,class,rle_mask\na,bowel,1 2\na,stomach,\nb,bowel,3 1\nb,stomach,6 1\n",
    "ships": "id,rle_mask\na.jpg,1 2\nb.jpg,\na.jpg,5 1\n",
    "chests": "id,rle_mask\na,0 1 2 1\nb,-1\n",
    "cells": "id,rle_mask\ncell/a,1 2\nwall/a,-\ncell/b,1 1\ncell/b,3 1\nwall/b,6 1\n",
}


def found(tmp_path: Path, given: Competition, text: str) -> Findings:
    (tmp_path / "s.csv").write_text(text)
    result = check_submission(tmp_path / "s.csv", given, TWO)
    for line in result.problems + result.remarks:
        assert line.splitlines() == [line]
    return result


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_in_any_row_order(tmp_path: Path, name: str) -> None:
    header, *rows = GOOD[name].splitlines()
    for order in (rows, rows[::-1]):
        assert found(tmp_path, FORMS[name], "\n".join([header, *order])) == Findings([], [])


@pytest.mark.parametrize(
    ("name", "old", "new", "problems"),
    [
        (
            "steel",
            "a.jpg_3",
            "a.jpg_4",
            [
                "1 row: a.jpg_4 of no class of the competition, whose classes are 1, 2, 3",
                "missing 1 row: a.jpg_3",
            ],
        ),
        ("steel", "a.jpg_3", "a.jpg", ["1 row: a.jpg of no class *", "missing 1 row: a.jpg_3"]),
        ("steel", "a.jpg_3", "a", ["1 row: a of no class *", "missing 1 row: a.jpg_3"]),
        ("steel", "a.jpg_3", "c.jpg_3", ["missing 1 row: a.jpg_3", "1 row: c.jpg_3 not in the test set"]),
        ("steel", "a.jpg_3", "a.jpg_2", ["missing 1 row: a.jpg_3", "more than once 1 row: a.jpg_2"]),
        (
            "steel",
            "a.jpg_3",
            "a.jpg_3.png",
            ["1 row: a.jpg_3.png with the suffix .png: *", "missing 1 row: a.jpg_3", "1 row: a.jpg_3.png not in *"],
        ),
        ("steel", "a.jpg_3,1 2", "a.jpg_3,1 7", ["mask of a.jpg_3: run 1 ('1 7') ends at pixel 7, outside the 2x3 *"]),
        (
            "organs",
            "a,stomach",
            "a,colon",
            [
                "1 row: a, colon of no class of the competition, whose classes are bowel, stomach",
                "missing 1 row: a, stomach",
            ],
        ),
        ("organs", "b,bowel,3 1", "b,bowel,3", ["mask of b, bowel: 1 numbers, expected pairs of start and length"]),
        ("organs", "class", "label", ["the columns are 'id, label, rle_mask', expected 'id, class, rle_mask'"]),
        ("ships", "b.jpg,\n", "", ["missing 1 id: b.jpg"]),
        ("ships", "b.jpg", "c.jpg", ["missing 1 id: b.jpg", "1 id: c.jpg not in the test set"]),
        ("ships", "a.jpg,5 1", "a.jpg,2 4", ["mask of a.jpg: on line 4 overlaps the one on line 2 in 1 pixel"]),
        ("ships", "a.jpg,5 1", "a.jpg,1 3", ["mask of a.jpg: on line 4 overlaps the one on line 2 in 2 pixels"]),
        (
            "ships",
            "a.jpg,5 1",
            "a.jpg,",
            ["mask of a.jpg: without a pixel on line 4, though there are other rows of the image"],
        ),
        ("ships", "a.jpg,5 1", "a.jpg,5 3", ["mask of a.jpg: run 1 ('5 3') ends at pixel 7, outside the 2x3 *"]),
        ("chests", "b,-1", "b,", ["mask of b: blank, expected '-1' for a mask without a pixel"]),
        ("chests", "b,-1", "b,-", ["mask of b: '-' is not an integer"]),
        ("chests", "0 1 2 1", "0 1 2 4", ["mask of a: run 2 ends at pixel 7, outside the 2x3 image of 6"]),
        ("cells", "wall/a,-", "wall/a,", ["mask of wall/a: blank, expected '-' for a mask without a pixel"]),
        ("cells", "wall/a", "sky/a", ["1 row: sky/a of no class *, whose classes are cell, wall", "missing *"]),
        ("cells", "cell/b,3 1", "cell/b,1 3", ["mask of cell/b: on line 5 overlaps the one on line 4 in 1 pixel"]),
    ],
)
def test_each_fault_is_one_line(tmp_path: Path, name: str, old: str, new: str, problems: list[str]) -> None:
    assert old in GOOD[name]
    lines = found(tmp_path, FORMS[name], GOOD[name].replace(old, new, 1))
    assert lines.remarks == [] and len(lines.problems) == len(problems)
    for line, pattern in zip(lines.problems, problems):
        head, star, tail = pattern.partition("*")
        assert line.startswith(head) and line.endswith(tail) and (star or line == pattern), line


def test_objects_of_different_classes_may_overlap_and_those_of_one_may_touch(tmp_path: Path) -> None:
    given = CELLS
    text = GOOD["cells"].replace("cell/b,3 1", "cell/b,2 1").replace("wall/b,6 1", "wall/b,1 2")
    assert found(tmp_path, given, text) == Findings([], [])


def test_an_object_within_others(tmp_path: Path) -> None:
    """Of each object that lies over another one a pair is named, whatever lies between them."""
    text = "id,rle_mask\na.jpg,1 6\na.jpg,2 1\na.jpg,4 2\nb.jpg,\n"
    assert found(tmp_path, SHIPS, text).problems == [
        "mask of a.jpg: on line 3 overlaps the one on line 2 in 1 pixel",
        "mask of a.jpg: on line 4 overlaps the one on line 2 in 2 pixels",
    ]


def test_what_the_host_accepts_is_a_remark(tmp_path: Path) -> None:
    lines = found(tmp_path, CHESTS, GOOD["chests"].replace("0 1 2 1", "0 1 0 1"))
    assert lines == Findings(
        [], ["mask of a: not as it would be encoded again: run 1 touches the next one, make them one run"]
    )
    lines = found(tmp_path, SHIPS, GOOD["ships"].replace("1 2", "01 2"))
    assert lines == Findings([], ["mask of a.jpg: not as it would be encoded again: '01' for 1"])


@pytest.mark.parametrize("name", ALL)
def test_what_is_written_is_good_and_half_of_it_is_not(tmp_path: Path, name: str) -> None:
    given = ALL[name]
    for seed in range(5):
        path = tmp_path / f"{seed}{'.zip' if given.form.form == 'png' else '.csv'}"
        write_submission(path, random_masks(given, seed).items(), given, IDS, lambda file: [], {})
        assert check_submission(path, given, SHAPES) == Findings([], [])
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert check_submission(path, given, SHAPES).problems
