"""Competition files with layouts, and data of any layout found wherever it lies in what a user has."""

from pathlib import Path

import numpy as np
import pytest

from import_files import contents, write_files, zipped
from layout_sets import competition, picture, save, table
from segfold.competition import Competition, load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.importing.kaggle import import_data

FILE = """
name: mine
title: Mine
task: binary
classes: [cell]
metric: dice
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layout: voc\nrle_order: row", "layout voc has no option rle_order (nearest: "),
        ("layout: voc\nimage: a/{id}.jpg", "layout voc has no option image (nearest: images)"),
        ("layout: folders\ntrain_table: t.csv", "layout folders has no option train_table (nearest: "),
        (
            "layout: kaggle-rle\nsubmision: {form: png}",
            "layout kaggle-rle has no option submision (nearest: submission)",
        ),
        ("layout: kaggle-rle\nsubmission: {rle: png}", "unknown key submission.rle (nearest: "),
        ("layout: kagle-rle", "layout is 'kagle-rle'"),
        ("layout: voc\nimages: JPEGImages", "images is 'JPEGImages': expected {id} in it"),
        ("layout: voc\nmasks: a/{id}_{part}.png", "expected {id} as its only field"),
        ("layout: folders\ntrain_images: a/{name}.png", "train_images is 'a/{name}.png': expected {id} in it"),
        ("layout: folders\ntrain_images: a/{id}_{class}.png", "an image has no {class}, only its masks have"),
        ("layout: folders\ntrain_images: a/{id.png", "expected fields like {id}"),
        (
            "layout: folders\ntest_images: ['a/{id}.png', '../b/{id}.png']",
            "test_images.1 is '../b/{id}.png': expected a relative path",
        ),
        ("layout: folders\ntrain_masks: null", "train_masks is null, and there is no table of masks"),
        (
            "layout: kaggle-rle\ntrain_masks: null\ntrain_table: null",
            "train_masks is null, and there is no table of masks",
        ),
        ("layout: folders\nid: '{*}'", "id is '{*}': expected named fields"),
        ("layout: folders\ngroup_column: g", "group_column is 'g', and there is no train table"),
        ("layout: folders\ngroup_pattern: '['", "group_pattern is no regular expression"),
        ("layout: folders\ngroup_pattern: abc", "group_pattern is 'abc': expected a group in it"),
        ("layout: kaggle-rle\ngroup_column: a\ngroup_pattern: (a)", "group_column and group_pattern both say"),
        ("layout: kaggle-rle\nkey: a.jpg", "key is 'a.jpg': expected {id}"),
        ("layout: kaggle-rle\nkey: '{id}_{class}'\nclass_column: c", "expected one of them to name the class"),
        ("layout: kaggle-rle\nunlisted: maybe", "unlisted is 'maybe'"),
    ],
)
def test_an_option_that_does_not_fit_its_layout_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(FILE + text + "\n")
    with pytest.raises(SegfoldError) as caught:
        load_competition(str(path))
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_faults_of_the_layout_and_of_the_rest_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(FILE.replace("title: Mine", "") + "layout: voc\nrle_order: row\n")
    with pytest.raises(SegfoldError, match=r"title is missing; layout voc has no option rle_order"):
        load_competition(str(path))


def test_a_competition_with_options_is_read_as_it_was_written() -> None:
    made = competition("kaggle-rle", train_images="a/{id}.png", rows="instance", submission={"rows": "image"})
    again = Competition.model_validate(made.model_dump(mode="json", by_alias=True))
    assert again == made and again.form == made.form and again.layout.table == made.layout.table
    assert again.form.rows == "image" and again.layout.table.row == "instance"
    other = made.model_copy(update={"train_images": "b/{id}.png"})
    assert other.layout.image_path("train", "x") == "b/x.png"


def objects_set(root: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        save(root / f"stage1/{name}/images/{name}.png", picture(rng))
        for number in range(2):
            save(root / f"stage1/{name}/masks/{number}.png", (rng.random((9, 7)) < 0.3).astype(np.uint8))


OBJECTS = competition(
    "folders",
    train_images="stage1/{id}/images/{id}.png",
    train_masks="stage1/{id}/masks/{*}.png",
    test_images="test/{id}/{*}.png",
)
BARE = competition("folders", train_images="{id}/image.png", train_masks="{id}/mask.png", test_images=None)


@pytest.mark.parametrize("packing", ["folder", "deep", "zip", "zip of the folder", "zips in a zip"])
def test_patterns_are_found_below_any_folder(tmp_path: Path, packing: str) -> None:
    raw, home, source = tmp_path / "raw", tmp_path / "home", tmp_path / "source"
    objects_set(raw)
    files = contents(raw)
    if packing == "folder":
        write_files(source, {**files, "stage1/a/images/a.txt": b"x", "stage1/notes.png": b"x", "other/b/b.png": b"x"})
    elif packing == "deep":
        write_files(source, {f"x/y/z/{name}": data for name, data in files.items()})
    else:
        inner = {name.removeprefix("stage1/"): data for name, data in files.items()}
        whole = {"zip": zipped({f"t/{name}": data for name, data in files.items()}), "zip of the folder": zipped(inner)}
        source = tmp_path / ("stage1.zip" if packing == "zip of the folder" else "source.zip")
        source.write_bytes(whole.get(packing) or zipped({"u/stage1.zip": zipped(inner), "u/readme.txt": b"x"}))
    assert import_data(OBJECTS, source, home).endswith("2 train and 0 test images")
    assert contents(home / "data/set") == files
    assert load_split(OBJECTS, "train", home).instances is not None
    assert "same data already" in import_data(OBJECTS, source, home)


def test_a_pattern_that_begins_with_a_field(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        save(tmp_path / f"source/inside/{name}/image.png", picture(rng))
        save(tmp_path / f"source/inside/{name}/mask.png", np.ones((9, 7), np.uint8))
    for source, home in ((tmp_path / "source", "home"), (tmp_path / "source/inside", "near")):
        assert import_data(BARE, source, tmp_path / home).endswith("2 train and 0 test images")
    files = set(contents(tmp_path / "home/data/set"))
    assert files == {"a/image.png", "a/mask.png", "b/image.png", "b/mask.png"}
    with pytest.raises(
        SegfoldError,
        match=r"has no \{id\}/image\.png, \{id\}/mask\.png: expected the data of Set, in a folder or a zip",
    ):
        import_data(BARE, tmp_path / "home/data/set/a", tmp_path / "other")


def test_a_sample_without_a_row_lets_test_images_be_missing(tmp_path: Path) -> None:
    rng, source = np.random.default_rng(0), tmp_path / "source"
    save(source / "train/a.png", picture(rng))
    table(source / "train.csv", "id,rle_mask", "a,1 1")
    made = competition("kaggle-rle", train_images="train/{id}.png", train_masks=None, test_images="test/{id}.png")
    table(source / "sample_submission.csv", "id,rle_mask", "t,")
    with pytest.raises(SegfoldError, match=r"has no test/\{id\}\.png: expected"):
        import_data(made, source, tmp_path / "home")
    table(source / "sample_submission.csv", "id,rle_mask")
    assert import_data(made, source, tmp_path / "home").endswith("1 train and 0 test images")


def test_what_is_not_on_kaggle_is_not_looked_for_there(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match=r"Set is not on Kaggle .*: .*from=PATH"):
        import_data(BARE, None, tmp_path)
