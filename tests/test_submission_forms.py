"""Rows of every form: by hand, by a writer in plain Python, in the order of the sample submission."""

import csv
from pathlib import Path

import numpy as np
import pytest

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.submission.check import submission_problems
from segfold.submission.forms import Table, form_of, image_ids, sample_order
from segfold.submission.write import write_submission
from submission_forms import (
    ALL,
    CELLS,
    CHESTS,
    IDS,
    ORGANS,
    SHAPES,
    SHIPS,
    STEEL,
    STREETS,
    competition,
    flood,
    plane,
    random_masks,
    sample,
)
from test_rle import brute
from test_rle_relative import walked

TABLES = {name: given for name, given in ALL.items() if given.form.form == "rle"}


def written(path: Path, given: Competition, masks: dict[str, np.ndarray], order: list) -> list[list[str]]:
    shapes = {name: mask.shape for name, mask in masks.items()}
    write_submission(path, masks.items(), given, order, lambda file: submission_problems(file, given, shapes), {})
    with path.open(newline="") as file:
        return list(csv.reader(file))


def one(given: Competition, mask: list[list[int]], tmp_path: Path) -> str:
    written(tmp_path / "s.csv", given, {"a": np.array(mask, np.uint8)}, ["a"])
    return (tmp_path / "s.csv").read_text()


def test_a_row_an_image_and_class(tmp_path: Path) -> None:
    # Bits: class 1 in the left column, class 3 in the lower row.
    text = one(STEEL, [[1, 0], [5, 4]], tmp_path)
    assert text == "ImageId,rle_mask\na.jpg_1,1 2\na.jpg_2,\na.jpg_3,2 1 4 1\n"
    assert one(ORGANS, [[2, 2], [0, 1]], tmp_path) == "id,class,rle_mask\na,bowel,4 1\na,stomach,1 2\n"


def test_a_row_an_object(tmp_path: Path) -> None:
    mask = [[1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert one(SHIPS, mask, tmp_path) == "id,rle_mask\na.jpg,1 1\na.jpg,3 1\na.jpg,8 1 10 1\n"
    assert one(SHIPS, [[0, 0]], tmp_path) == "id,rle_mask\na.jpg,\n"
    # Without the background, and of a class without an object the text for empty.
    assert one(CELLS, [[2, 0, 2]], tmp_path) == "id,rle_mask\ncell/a,-\nwall/a,1 1\nwall/a,3 1\n"


def test_relative_runs_and_text_for_empty(tmp_path: Path) -> None:
    assert one(CHESTS, [[0, 1, 1], [0, 0, 1]], tmp_path) == "id,rle_mask\na,1 2 2 1\n"
    assert one(CHESTS, [[0, 0]], tmp_path) == "id,rle_mask\na,-1\n"


def test_columns_of_the_submission_are_not_those_of_the_train_table(tmp_path: Path) -> None:
    given = competition(
        "multilabel",
        ("1", "2"),
        class_column="ClassId",
        key="{id}.jpg",
        submission={"id_column": "both", "key": "{id}.jpg_{class}", "mask_column": "Pixels", "order": "row"},
    )
    assert one(given, [[3, 0], [1, 1]], tmp_path) == "both,Pixels\na.jpg_1,1 1 3 2\na.jpg_2,1 1\n"


def test_another_size_than_the_image_s(tmp_path: Path) -> None:
    given = competition(submission={"size": (2, 3)})
    mask = np.zeros((8, 12), np.uint8)
    mask[4:, 4:8] = 1
    assert one(given, mask.tolist(), tmp_path) == "id,rle_mask\na,4 1\n"
    # Bounds are of that size, not of the image.
    (tmp_path / "s.csv").write_text("id,rle_mask\na,7 1\n")
    assert submission_problems(tmp_path / "s.csv", given, {"a": (8, 12)}) == [
        "mask of a: run 1 ('7 1') ends at pixel 7, outside the 2x3 image of 6"
    ]


@pytest.mark.parametrize("name", TABLES)
def test_all_rows_as_plain_python_writes_them(tmp_path: Path, name: str) -> None:
    given, form = TABLES[name], TABLES[name].form
    for seed in range(8):
        masks = random_masks(given, seed)
        expected = [[form.id_column, *([form.class_column] if form.class_column else []), form.mask_column]]
        for image_id in IDS:
            for label, named in enumerate(given.classes):
                if label == given.background:
                    continue
                pixels = plane(given, masks[image_id], label)
                parts = flood(pixels, form.order) if form.rows == "instance" else [pixels] * bool(pixels.any())
                texts = [(walked if form.relative else brute)(part, form.order) for part in parts] or [form.empty]
                key = [form.key.replace("{id}", image_id).replace("{class}", named)]
                expected += [[*key, *([named] if form.class_column else []), text] for text in texts]
        assert written(tmp_path / f"{seed}.csv", given, masks, list(IDS)) == expected


def test_empty_share_is_of_masks(tmp_path: Path) -> None:
    masks = {"a": np.array([[1, 1]], np.uint8), "b": np.array([[7, 0]], np.uint8)}
    manifest = write_submission(tmp_path / "s.csv", masks.items(), STEEL, ["a", "b"], lambda file: [], {}).manifest
    assert manifest["empty_share"] == 2 / 6 and manifest["images"] == 2 and manifest["csv"] == "s.csv"


def test_the_sample_gives_the_order_of_its_rows(tmp_path: Path) -> None:
    keys = [f"{name}.jpg_{label}" for label in (3, 1, 2) for name in ("b", "a")]
    sample(STEEL, tmp_path, "\n".join(["ImageId,rle_mask", *(f"{key},1 1" for key in keys)]))
    order = sample_order(STEEL, ["a", "b"], tmp_path)
    assert order[:2] == [("b", "3"), ("a", "3")] and image_ids(order) == ["b", "a"]
    masks = {"a": np.array([[1, 0]], np.uint8), "b": np.array([[6, 4]], np.uint8)}
    rows = written(tmp_path / "s.csv", STEEL, masks, order)
    assert [row[0] for row in rows[1:]] == keys
    assert dict(rows)["b.jpg_3"] == "1 2" and dict(rows)["b.jpg_2"] == "1 1" and dict(rows)["a.jpg_1"] == "1 1"


def test_the_sample_s_rows_of_a_class_column(tmp_path: Path) -> None:
    sample(ORGANS, tmp_path, "id,class,rle_mask\na,stomach,\nb,bowel,\nb,stomach,\na,bowel,\n")
    order = sample_order(ORGANS, ["a", "b"], tmp_path)
    assert order == [("a", "stomach"), ("b", "bowel"), ("b", "stomach"), ("a", "bowel")]
    assert [
        row[:2] for row in written(tmp_path / "s.csv", ORGANS, {n: np.zeros((1, 2), np.uint8) for n in "ab"}, order)
    ][1:] == [list(each) for each in order]


@pytest.mark.parametrize(
    ("given", "text", "expected"),
    [
        (STEEL, "ImageId,rle_mask\nb.jpg_1,\na.jpg_2,\n", ["b", "a"]),  # not all rows: the images, all classes of each
        (STEEL, "ImageId,rle_mask\n", ["a", "b"]),  # its rows are made by the host
        (SHIPS, "id,rle_mask\nb.jpg,1 1\na.jpg,\nb.jpg,3 1\n", ["b", "a"]),
        (CHESTS, "id,rle_mask\nb,\na,\n", ["b", "a"]),
        (STREETS, None, ["a", "b"]),
    ],
)
def test_what_a_sample_names(tmp_path: Path, given: Competition, text: str | None, expected: list) -> None:
    if text is not None:
        sample(given, tmp_path, text)
    assert sample_order(given, ["a", "b"], tmp_path) == expected


@pytest.mark.parametrize(
    ("given", "text", "says"),
    [
        (STEEL, "ImageId,rle_mask\na.jpg_4,\n", r"'a\.jpg_4' names no class; the classes are 1, 2, 3"),
        (ORGANS, "id,class,rle_mask\na,colon,\n", "'a, colon' names no class; the classes are bowel, stomach"),
        (STEEL, "ImageId,rle_mask\na.png_1,\n", r"key 'a\.png_1': expected the form '\{id\}\.jpg_\{class\}'"),
        (ORGANS, "id,class,rle_mask\na,bowel,\na,bowel,\n", "1 rows twice"),
        (CHESTS, "id,rle_mask\na,\na,\n", "a more than once"),
        (CHESTS, None, "no table"),
    ],
)
def test_a_sample_that_does_not_fit(tmp_path: Path, given: Competition, text: str | None, says: str) -> None:
    if text is not None:
        sample(given, tmp_path, text)
    with pytest.raises(SegfoldError, match=says) as caught:
        sample_order(given, ["a"], tmp_path)
    assert "\n" not in str(caught.value)


def test_a_class_that_holds_what_stands_before_it() -> None:
    table = Table(competition("multilabel", ("big_cat", "dog"), key="{id}_{class}"))
    assert table.parsed(["x_1_big_cat"]) == ("x_1", "big_cat")
    assert table.parsed(["x_1_dog"]) == ("x_1", "dog")
    assert table.parsed(["x_1_cow"]) == ("x_1", "cow")
    assert table.parsed(["x"]) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"submission": {"key": "image"}}, r"key 'image' does not name the image: put \{id\}"),
        ({"key": "{id}", "rows": "class"}, r"2 classes do not say which: put \{class\} into key"),
        ({"key": "{id}_{class}", "rows": "image"}, "rows: image, but the competition 2 classes: set rows: class"),
        ({"submission": {"form": "png"}}, "the classes of task multilabel overlap: use form rle"),
    ],
)
def test_forms_that_the_classes_cannot_have(changes: dict, says: str) -> None:
    with pytest.raises(SegfoldError, match=says):
        form_of(competition("multilabel", ("p", "q"), **changes))


@pytest.mark.parametrize("name", ALL)
def test_the_file_has_the_ending_of_its_form(tmp_path: Path, name: str) -> None:
    ending, other = (".zip", ".csv") if ALL[name].form.form == "png" else (".csv", ".zip")
    with pytest.raises(SegfoldError, match=rf"ends in \{ending}; name it s\{other}\{ending}"):
        write_submission(tmp_path / f"s{other}", random_masks(ALL[name]).items(), ALL[name], IDS, lambda file: [], {})
    assert not list(tmp_path.iterdir()) and set(SHAPES) == set(IDS)
