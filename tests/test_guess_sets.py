"""``segfold data --guess`` on sets that no competition file describes, and on what is no set."""

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from competition_sets import discs, picture, rle, save, table
from forked import segfold
from guess_sets import (
    Masks,
    by_class_file,
    by_class_folder,
    by_defect,
    by_lot,
    cities,
    coloured,
    compressed,
    filled,
    nested,
    turned,
    two_folders_of_masks,
)
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.importing.guess import guess
from segfold.importing.kaggle import import_data
from test_guess import guessed, imported, state

SETS: dict[str, tuple[Callable[[Path, np.random.Generator], Masks], int, list[str]]] = {
    "nested": (nested, 4, ["photos/{folder1}/{folder2}/{name}_gt.png", "task: binary"]),
    "by_defect": (
        by_defect,
        4,
        ["rle_order: row", "key: 'train/{id}.png'", "class_column: defect", "unlisted: empty", "# group_column: plant"],
    ),
    "cities": (
        cities,
        3,
        ["gtFine/val/{*}/{id}_gtFine_labelIds.png", "Masks of the test images are there too"],
    ),
    "by_class_folder": (by_class_folder, 0, ["masks/{class}/{id}.png", "classes: [building, road]"]),
    "by_class_file": (by_class_file, 0, ["masks/{id}_{class}.png", "classes: [EX, HE, MA]"]),
    "by_lot": (by_lot, 4, ["masks/{*}/{id}_{class}.png", "key: '{id}_{class}'", "fill in order"]),
    "coloured": (coloured, 0, ["class_2: [60, 60, 255]", "task: multiclass"]),
    "compressed": (compressed, 0, ["mask/mask_{id}.jpg", "mask_threshold: 127"]),
    "turned": (turned, 0, ["exif: turn   # 4 mask files", "4 of orientation 6"]),
    "two_folders_of_masks": (two_folders_of_masks, 5, ["1st_manual/{id}_manual1.gif", "test/images/{id}_test.tif"]),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_nobody_has_described(name: str, tmp_path: Path) -> None:
    make, tests, said = SETS[name]
    root = tmp_path / "download"
    masks = make(root, np.random.default_rng(5))
    before = state(root)
    text = guess(root)
    assert state(root) == before
    for each in said:
        assert each in text
    competition = guessed(root, tmp_path)
    images = imported(competition, root, tmp_path)
    assert images.masks is not None and set(images.ids) == set(masks)
    assert images.instances is None
    for row, each in enumerate(images.ids):
        assert np.array_equal(images.masks[row], masks[each]), each
    if tests:
        assert len(load_split(competition, "test", tmp_path)) == tests


def test_zips_in_a_zip(tmp_path: Path) -> None:
    root = tmp_path / "download"
    masks = by_defect(root, np.random.default_rng(5))
    whole = tmp_path / "kaggle.zip"
    with zipfile.ZipFile(whole, "w") as outer:
        for split in ("train", "test"):
            inner = tmp_path / f"{split}.zip"
            with zipfile.ZipFile(inner, "w") as zipped:
                for file in sorted((root / split).iterdir()):
                    zipped.write(file, file.name)
            outer.write(inner, inner.name)
        for file in root.glob("*.csv"):
            outer.write(file, file.name)
    assert guess(whole).splitlines()[3:] == guess(root).replace("download", "kaggle").splitlines()[3:]
    images = imported(guessed(whole, tmp_path), whole, tmp_path)
    assert images.masks is not None
    assert all(np.array_equal(images.masks[row], masks[each]) for row, each in enumerate(images.ids))


def test_a_table_that_says_the_splits(tmp_path: Path) -> None:
    rng, root = np.random.default_rng(5), tmp_path / "download"
    lines = []
    for number in range(12):
        objects = discs(rng, 2)
        save(root / "img" / f"a{number}.png", picture(rng, objects[None] > 0))
        save(root / "label" / f"a{number}.png", filled(objects, 1))
        lines.append(f"a{number}.png,{('train', 'val', 'test')[number % 3]},{20 + number},p{number // 3}")
    table(root / "meta.csv", "file,split,age,patient", lines)
    text = guess(root)
    assert "# groups: {file: meta.csv, column: patient, id_column: file" in text
    assert "#   age: {file: meta.csv, column: age, id_column: file" in text
    competition = guessed(root, tmp_path)
    train = imported(competition, root, tmp_path)
    assert train.held_out is not None and len(train) == 8
    assert {name for name, held in zip(train.ids, train.held_out) if held} == {"a1", "a4", "a7", "a10"}
    assert set(load_split(competition, "test", tmp_path).ids) == {"a2", "a5", "a8", "a11"}


def test_the_command_prints_a_file_that_loads(tmp_path: Path) -> None:
    nested(tmp_path / "download", np.random.default_rng(5))
    done = segfold(tmp_path, "data", "--guess", "download")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "mine.yaml").write_text(done.stdout)
    assert load_competition("mine.yaml", tmp_path).name == "download"
    assert not (tmp_path / "data").exists()
    done = segfold(tmp_path, "data", "--competition", "mine.yaml", "--from", "download")
    assert done.returncode == 0 and "imported into data/download: 18 train" in done.stdout


def test_nothing_to_guess_from_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("nothing\n")
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "a.tar").write_bytes(b"")
    for path, said in {
        "none": "no none: expected a folder or a zip",
        "texts": "texts holds no image among 1 files: expected a folder or a zip with images",
        "a.tar": "a.tar is neither a folder nor a zip",
        "broken.zip": "broken.zip holds no image among 0 files",
    }.items():
        done = segfold(tmp_path, "data", "--guess", path)
        assert done.returncode == 2 and done.stdout == "" and said in done.stderr, path
        assert len(done.stderr.splitlines()) == 1


def test_damaged_files_are_told_and_the_rest_is_guessed(tmp_path: Path) -> None:
    root = tmp_path / "download"
    compressed(root, np.random.default_rng(5))
    (root / "img" / "image_3.jpg").write_bytes(b"no image")
    (root / "empty.csv").write_text("")
    (root / "odd.csv").write_bytes(b"a,b\n\xff\xfe,\n")
    text = guess(root)
    assert "img/image_3.jpg cannot be decoded" in text and "empty.csv cannot be read as a CSV" in text
    assert "odd.csv cannot be read as a CSV" in text and "train_masks: 'mask/mask_{id}.jpg'" in text


def test_images_alone_say_that_masks_are_to_be_filled_in(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "download" / "pictures" / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    text = guess(tmp_path / "download")
    assert "No masks were found" in text
    competition = guessed(tmp_path / "download", tmp_path)
    with pytest.raises(SegfoldError, match="masks"):
        import_data(competition, tmp_path / "download", tmp_path, say=lambda line: None)


@pytest.mark.parametrize("order", ["column", "row"])
@pytest.mark.parametrize("relative", [False, True])
def test_how_run_lengths_are_numbered(order: str, relative: bool, tmp_path: Path) -> None:
    """By the shapes alone; without mask files."""
    rng, root, lines = np.random.default_rng(5), tmp_path / "download", []
    for number in range(8):
        objects = discs(rng, 3)
        save(root / "images" / f"{number}.png", picture(rng, objects[None] > 0))
        lines.append([f"{number}.png", rle(objects, order, relative)])
    with (root / "masks.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "runs"], *lines])
    text = guess(root)
    assert f"rle_order: {order}" in text and ("rle_relative: true" in text) == relative
    assert load_competition(_written(text, tmp_path)).layout.table.key == "{id}.png"


def _written(text: str, home: Path) -> str:
    path = home / "guessed.yaml"
    path.write_text(text)
    return str(path)


def test_runs_that_leave_the_image_are_told(tmp_path: Path) -> None:
    root = tmp_path / "download"
    for number in range(4):
        save(root / "images" / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    table(root / "masks.csv", "name,runs", (f"{number},100 20 130 {5 + number}" for number in range(4)))
    text = guess(root)
    assert "no way of reading the run lengths fits" in text and "outside the 8x8" in text
