"""Paths with fields find just the files that they name, and say which fields those have."""

from pathlib import Path

import pytest

from segfold.errors import SegfoldError
from segfold.layouts.patterns import Pattern, template
from segfold.layouts.records import Ids, Listing, by_id, image_records

FILES = [
    "",
    "train/case1/case1_day2/scans/slice_0001_266_266_1.50.png",
    "train/case1/case1_day2/scans/slice_0002_266_266_1.50.png",
    "train/case2/case2_day9/scans/slice_0001_8_8_1.50.png",
    "train/case2/case3_day9/scans/slice_0001_8_8_1.50.png",
    "train/case2/case2_day9/scans/.slice_0003_8_8.png",
    "train/case2/case2_day9/scans/notes.txt",
    "flat/a.png",
    "flat/a_mask.png",
    "flat/b_c.png",
    "flat/b_c_nerve.png",
    "flat/b_c_vein wall.png",
    "flat/sub/d.png",
    "",
][1:-1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


CASES = [
    (
        "train/{case}/{case}_{day}/scans/slice_{slice}_{*}.png",
        {("case1", "day2", "0001"), ("case1", "day2", "0002"), ("case2", "day9", "0001")},
    ),
    ("flat/{id}.png", {("a",), ("a_mask",), ("b_c",), ("b_c_nerve",), ("b_c_vein wall",)}),
    ("flat/{id}_mask.png", {("a",)}),
    ("flat/{id}_{class}.png", {("b_c", "nerve"), ("b_c", "vein wall")}),
    ("{folder}/{id}.png", {("flat", name) for name in ("a", "a_mask", "b_c", "b_c_nerve", "b_c_vein wall")}),
    ("{*}/{*}/{id}.png", {("d",)}),
    ("flat/{id}.jpg", set()),
    ("train/{id}/scans/{id}.png", set()),
]


@pytest.mark.parametrize(("text", "fields"), CASES)
def test_a_pattern_finds_its_files(root: Path, text: str, fields: set[tuple[str, ...]]) -> None:
    pattern = Pattern(text, ("nerve", "vein wall"))
    found = pattern.find(root)
    assert {tuple(match.fields.values()) for match in found} == fields
    for match in found:
        assert match.path.read_text() == match.name  # each file holds its own name
        assert pattern.match(match.name) == match.fields and pattern.has(Path("some", "where", match.name))  # type: ignore[arg-type]
        assert match.size == len(match.name)
    assert not any(pattern.match(name) for name in FILES if name not in {match.name for match in found})


def test_ids_put_together_and_taken_apart(root: Path) -> None:
    pattern, ids = Pattern(CASES[0][0]), Ids("{case}_{day}_slice_{slice}")
    found = by_id(pattern, ids, root)
    assert sorted(found) == ["case1_day2_slice_0001", "case1_day2_slice_0002", "case2_day9_slice_0001"]
    fields = ids.fields_in("case7_day1_slice_0003")
    assert pattern.path(fields) == "train/case7/case7_day1/scans/slice_0003_*.png"


def test_two_files_of_one_image_are_said(root: Path) -> None:
    listing = Listing()
    image_records(listing, [Pattern("flat/{id}{*}.png")], Ids(), root)
    assert len(listing.problems) == 1
    assert listing.problems[0].startswith(
        "flat/b_c.png and flat/b_c_nerve.png and flat/b_c_vein wall.png: more than one"
    )


def test_what_is_in_a_pattern_is_no_regular_expression(tmp_path: Path) -> None:
    for name in ("a.png", "axpng", "b+.png"):
        (tmp_path / name).touch()
    assert [match.name for match in Pattern("a.{id}").find(tmp_path)] == ["a.png"]
    assert [match.fields["id"] for match in Pattern("b+{id}ng").find(tmp_path)] == [".p"]
    assert template("{id}.jpg_{class}", ("1", "12")).fullmatch("a.jpg_12")["class"] == "12"  # type: ignore[index]
    assert template("{id}.jpg_{class}", ("1", "2")).fullmatch("a.jpg_12") is None


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match=rf"no folder {tmp_path}/a: import"):
        Pattern("a/{id}.png").find(tmp_path)
