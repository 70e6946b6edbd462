"""The check of a submission finds each fault a file can have; the score is the host's."""

from pathlib import Path

import numpy as np
import pytest

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.rle import encode
from segfold.metrics import image_dice, overlap, score
from segfold.submission.check import check_submission, submission_problems
from segfold.submission.findings import Findings
from segfold.submission.score import score_submission

SHAPES = {"a": (4, 5), "1e1000": (4, 5), "00123": (6, 3), "d": (4, 5)}
GOOD = {"a": "1 2 5 1", "1e1000": "", "00123": "18 1", "d": "1 20"}


def competition(**changes: object) -> Competition:
    fields = {"name": "salt", "title": "Salt", "slug": "salt", "layout": "kaggle-rle", "task": "binary"}
    return Competition(**{**fields, "classes": ("salt",), "metric": "precision", **changes})  # type: ignore[arg-type]


def write(path: Path, masks: dict[str, str], header: str = "id,rle_mask") -> Path:
    path.write_text("\n".join([header, *(f"{key},{text}" for key, text in masks.items())]) + "\n")
    return path


def problems(path: Path, **changes: object) -> list[str]:
    return submission_problems(path, competition(**changes), SHAPES)


def test_a_good_file_in_any_row_order(tmp_path: Path) -> None:
    assert problems(write(tmp_path / "s.csv", GOOD)) == []
    assert problems(write(tmp_path / "s.csv", dict(reversed(GOOD.items())))) == []
    content = (tmp_path / "s.csv").read_bytes()
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n") + b"\r\n")
    assert problems(tmp_path / "s.csv") == []
    quoted = 'id,rle_mask\n"a","1 2 5 1"\n1e1000,""\n00123,18 1\nd,1 20'
    (tmp_path / "s.csv").write_text(quoted)
    assert problems(tmp_path / "s.csv") == []


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ("1 2 2 1", "mask of a: run 2 ('2 1') overlaps the run in front of it"),
        ("1 2 20 2", "outside the 4x5 image of 20"),
        ("5 1 1 2", "sorted"),
        ("1 2 5", "3 numbers"),
        ("0 2", "starts before pixel 1"),
        ("1 0", "shorter than one pixel"),
        ("1 two", "'two' is not an integer"),
        ("nan", "'nan' is not an integer"),
        ("1 2 3 1", "encoded again: run 1 touches the next one"),
        ("5 1 7 2 9 1", "encoded again: run 2 touches the next one"),
        ("01 2", "encoded again: '01' for 1"),
        (f"{'0' * 5000}1 2", f"encoded again: '{'0' * 30}' for 1"),  # more digits than Python makes a number of
        ("1\x1f2", r"'1\x1f2' is not an integer"),
        ("1  2", "encoded again: single spaces"),
        (" ", "encoded again: single spaces"),
    ],
)
def test_each_fault_of_a_mask_is_named(tmp_path: Path, mask: str, says: str) -> None:
    found = problems(write(tmp_path / "s.csv", {**GOOD, "a": mask}))
    assert len(found) == 1
    assert found[0].startswith("mask of a: ")
    assert says in found[0]


@pytest.mark.parametrize(
    ("mask", "canonical", "says"),
    [
        ("1 2 3 1", "1 3", "run 1 touches the next one"),
        ("5 1 7 2 9 1", "5 1 7 3", "run 2 touches the next one"),
        ("01 2", "1 2", "'01' for 1"),
        ("1  2 ", "1 2", "single spaces"),
        (" ", "", "single spaces"),
    ],
)
def test_what_the_host_accepts_is_a_remark_and_is_scored(tmp_path: Path, mask: str, canonical: str, says: str) -> None:
    path, plain = (write(tmp_path / f"{n}.csv", {**GOOD, "a": text}) for n, text in enumerate((mask, canonical)))
    found = check_submission(path, competition(), SHAPES)
    assert found.problems == [] and submission_problems(path, competition(), SHAPES) == found.remarks
    (remark,) = found.remarks
    assert remark.startswith("mask of a: ") and says in remark
    assert check_submission(plain, competition(), SHAPES) == Findings([], [])
    truth = write(tmp_path / "truth.csv", {**GOOD, "a": "1 4", "d": mask})
    wanted = score_submission(plain, truth, competition(metric="dice"), SHAPES).mean
    assert 0 < score_submission(path, truth, competition(metric="dice"), SHAPES).mean == wanted < 1


@pytest.mark.parametrize("mask", ["1\t2", '"1 2\n"', "1\v2"])
def test_other_white_space_is_a_problem(tmp_path: Path, mask: str) -> None:
    found = check_submission(write(tmp_path / "s.csv", {**GOOD, "a": mask}), competition(), SHAPES)
    assert found == Findings(["mask of a: a tab or a line break between numbers, expected spaces"], [])


def test_bounds_are_those_of_the_very_image(tmp_path: Path) -> None:
    found = problems(write(tmp_path / "s.csv", {**GOOD, "00123": "19 1"}))
    assert found == ["mask of 00123: run 1 ('19 1') ends at pixel 19, outside the 6x3 image of 18"]


def test_ids(tmp_path: Path) -> None:
    masks = {key: text for key, text in GOOD.items() if key != "1e1000"}
    assert problems(write(tmp_path / "s.csv", masks)) == ["missing 1 id: 1e1000"]
    # Read as a number, 00123 would become 123 and 1e1000 infinity.
    masks = {"a": "", "inf": "", "123": "", "d": ""}
    assert problems(write(tmp_path / "s.csv", masks)) == [
        "missing 2 ids: 1e1000, 00123",
        "2 ids: inf, 123 not in the test set",
    ]
    path = write(tmp_path / "s.csv", GOOD)
    path.write_text(path.read_text() + "a,1 1\na,\n,1 1\n")
    assert problems(path) == ["1 id: (blank) not in the test set", "more than once 1 id: a"]


def test_ids_with_the_suffix_of_the_files(tmp_path: Path) -> None:
    found = problems(write(tmp_path / "s.csv", {f"{key}.png": text for key, text in GOOD.items()}))
    assert found[0] == (
        "4 ids: a.png, 1e1000.png, 00123.png, d.png with the suffix .png: the ids of the test set are without it"
    )
    assert len(problems(write(tmp_path / "s.csv", {**GOOD, "b.png": ""}))) == 1


def test_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", GOOD, header="id,mask")
    assert problems(path) == ["the columns are 'id, mask', expected 'id, rle_mask'"]
    assert problems(path, mask_column="mask") == []
    path.write_text("rle_mask,id\n" + "".join(f"{text},{key}\n" for key, text in {**GOOD, "a": "x 1"}.items()))
    assert problems(path) == [
        "the columns are 'rle_mask, id', expected 'id, rle_mask'",
        "mask of a: 'x' is not an integer",
    ]
    path.write_text("id, rle_mask\n" + "".join(f"{key}, {text}\n" for key, text in GOOD.items()))
    found = check_submission(path, competition(), SHAPES)
    assert found.problems == [
        "the columns are 'id,  rle_mask', expected 'id, rle_mask', without the blanks around them"
    ]
    assert len(found.remarks) == 4
    path.write_text("")
    assert problems(path) == ["the columns are '', expected 'id, rle_mask'"]


def test_lines_with_a_wrong_number_of_fields(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("id,rle_mask\na,1 1\n1e1000\n\n00123,1 1,7\nd,\n")
    assert problems(path) == [
        "not 2 fields on line 3, 5",
        "missing 2 ids: 1e1000, 00123 (lines with a wrong number of fields were left out)",
    ]


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", {"a": "1 30", "d": "1 1 2 1", "x": "1 1", "1e1000": "-1 1"})
    found = problems(path)
    assert len(found) == 5
    assert [line.split(":")[0] for line in found[2:]] == ["mask of a", "mask of 1e1000", "mask of d"]  # a remark last


def test_many_bad_masks_are_counted(tmp_path: Path) -> None:
    shapes = {f"i{n}": (2, 2) for n in range(50)}
    path = write(tmp_path / "s.csv", dict.fromkeys(shapes, "1"))
    found = submission_problems(path, competition(), shapes)
    assert len(found) == 21
    assert found[-1] == "and 30 more masks with problems"


def test_files_that_are_no_csv(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match="no file"):
        problems(tmp_path / "none.csv")
    with pytest.raises(SegfoldError, match="cannot be read"):
        problems(tmp_path)
    (tmp_path / "s.csv").write_bytes(b"id,rle_mask\na,1 1\n\xff\xfe\x00")
    assert "not a CSV in UTF-8" in problems(tmp_path / "s.csv")[0]


def test_a_very_long_mask(tmp_path: Path) -> None:
    mask = np.indices((400, 400)).sum(0) % 2
    path = write(tmp_path / "s.csv", {"a": encode(mask)})
    assert path.stat().st_size > 1 << 17  # what Python's csv module takes by itself
    assert submission_problems(path, competition(), {"a": (400, 400)}) == []


@pytest.mark.parametrize("order", ["column", "row"])
def test_score_is_the_mean_over_images(tmp_path: Path, order: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {f"i{n}": ((9, 14) if n % 3 else (11, 8)) for n in range(30)}
    truth = {key: rng.random(shape) < 0.5 for key, shape in shapes.items()}
    pred = {key: mask ^ (rng.random(mask.shape) < 0.1) for key, mask in truth.items()}
    truth["i4"] = pred["i4"] = np.zeros(shapes["i4"], bool)
    texts = [{key: encode(mask, order) for key, mask in part.items()} for part in (pred, truth)]  # type: ignore[arg-type]
    csv = write(tmp_path / "pred.csv", texts[0])
    # The truth in another order, with a column and an image more.
    solution = tmp_path / "solution.csv"
    lines = [f"{key},{text},Public" for key, text in reversed(texts[1].items())]
    solution.write_text("\n".join(["id,rle_mask,Usage", *lines, "other,1 1,Public"]) + "\n")
    for metric, one in (("precision", score), ("dice", lambda p, t: image_dice(*overlap(p, t)))):
        expected = np.mean([one(pred[key][None], truth[key][None])[0] for key in shapes])
        got = score_submission(csv, solution, competition(metric=metric, rle_order=order), shapes).mean
        assert 0 < got < 1
        assert got == pytest.approx(expected, abs=1e-12)
    assert score_submission(solution_only(tmp_path, texts[1]), solution, competition(rle_order=order), shapes).mean == 1


def solution_only(folder: Path, texts: dict[str, str]) -> Path:
    return write(folder / "perfect.csv", texts)


def test_what_cannot_be_scored(tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", GOOD)
    bad = write(tmp_path / "bad.csv", {**GOOD, "a": "1 1 1 1", "x": ""})
    with pytest.raises(SegfoldError, match=r"bad\.csv cannot be scored: .*\(and 1 more problems\)"):
        score_submission(bad, good, competition(), SHAPES)
    short = write(tmp_path / "short.csv", {"a": ""})
    with pytest.raises(SegfoldError, match=r"short\.csv lacks 3 ids: 1e1000, 00123, d"):
        score_submission(good, short, competition(), SHAPES)
    with pytest.raises(SegfoldError, match=r"bad\.csv: mask of a: run 2 .* overlaps"):
        score_submission(good, bad, competition(), SHAPES)
