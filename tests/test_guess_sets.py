"""``segfold data --guess`` on sets that no competition file describes, and on what is no set."""

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition_sets import discs, picture, regions, rle, save, table
from forked import segfold
from segfold.competition import load_competition
from segfold.data.images import load_split
from segfold.errors import SegfoldError
from segfold.importing.guess import guess
from segfold.importing.kaggle import import_data
from test_guess import guessed, imported, state

Masks = dict[str, np.ndarray]


def filled(objects: np.ndarray, value: int = 255) -> np.ndarray:
    return ((objects > 0) * value).astype(np.uint8)


def nested(root: Path, rng: np.random.Generator) -> Masks:
    """JPEG photographs by month and site, each beside its mask; numbers begin anew in every folder."""
    masks = {}
    for month in ("2019-05", "2019-06"):
        for site in ("site_a", "site_b", "site_c"):
            for number in range(1, 4):
                objects = discs(rng, number - 1)
                stem = root / "photos" / month / site / f"img_{number:03d}"
                save(stem.with_suffix(".jpg"), picture(rng, objects[None] > 0), quality=95)
                save(stem.with_name(f"{stem.name}_gt.png"), filled(objects))
                masks[f"{month}_{site}_{stem.name}"] = (objects > 0).astype(np.uint8)
    for number in range(4):
        path = root / "test_photos" / "2020-01" / "site_z" / f"img_{number:03d}.jpg"
        save(path, picture(rng, discs(rng, 1)[None] > 0), quality=95)
    return masks


def by_defect(root: Path, rng: np.random.Generator) -> Masks:
    """A row for each defect that is there, along the rows; ids are paths, classes a column of another name."""
    masks, train, sample = {}, [], []
    names = ("crack", "rust", "scratch")
    for number in range(14):
        name = f"IMG-{1000 + number * 37}"
        planes = regions(rng, [number % 3] if number % 4 else [], 3, (30, 44))
        split = "train" if number < 10 else "test"
        save(root / split / f"{name}.png", picture(rng, planes))
        if split == "test":
            sample += [f"{name}.png,{each}," for each in names]
            continue
        rows = [(each, plane) for each, plane in zip(names, planes) if plane.any()]
        train += [f"train/{name}.png,{each},{rle(plane, 'row')},plant{number % 3}" for each, plane in rows]
        masks[name] = sum(plane.astype(np.uint8) << place for place, plane in enumerate(planes))
    table(root / "labels.csv", "path,defect,rle,plant", train)
    table(root / "sample_submission.csv", "image,defect,rle", sample)
    return masks


def cities(root: Path, rng: np.random.Generator) -> Masks:
    """Masks of indices beside coloured ones and maps of objects, in other folders and with other endings."""
    masks = {}
    for split, places in (("train", ("aachen", "bremen", "ulm")), ("val", ("lindau", "munster")), ("test", ("bonn",))):
        for place in places:
            for number in range(3):
                name = f"{place}_{number:06d}_000019"
                lines = np.roll(np.repeat(np.arange(8), 4), number)[:, None].repeat(40, axis=1).astype(np.uint8)
                save(
                    root / "leftImg8bit" / split / place / f"{name}_leftImg8bit.png",
                    picture(rng, lines == np.arange(8)[:, None, None]),
                )
                stem = root / "gtFine" / split / place / f"{name}_gtFine"
                save(stem.with_name(f"{stem.name}_labelIds.png"), lines)
                save(stem.with_name(f"{stem.name}_color.png"), np.stack([lines * 30, lines, 255 - lines], axis=2))
                save(stem.with_name(f"{stem.name}_instanceIds.png"), lines.astype(np.uint16) * 1000)
                if split != "test":
                    masks[name] = lines
    return masks


def by_class_folder(root: Path, rng: np.random.Generator) -> Masks:
    masks = {}
    for number in range(8):
        planes = regions(rng, [0, 1], 2, (32, 40))
        save(root / "data" / "img" / f"{number:04d}.jpg", picture(rng, planes), quality=95)
        for kind, plane in zip(("building", "road"), planes):
            save(root / "data" / "masks" / kind / f"{number:04d}.png", filled(plane))
        masks[f"{number:04d}"] = planes[0] + 2 * planes[1].astype(np.uint8)
    return masks


def by_class_file(root: Path, rng: np.random.Generator) -> Masks:
    """``eye_03_MA.png``; the image's name has the same mark in it."""
    masks = {}
    for number in range(8):
        planes = regions(rng, [number % 3, (number + 1) % 3], 3, (32, 40))
        save(root / "images" / f"eye_{number:02d}.jpg", picture(rng, planes), quality=95)
        for kind, plane in zip(("EX", "HE", "MA"), planes):
            save(root / "masks" / f"eye_{number:02d}_{kind}.png", filled(plane))
        masks[f"eye_{number:02d}"] = sum(plane.astype(np.uint8) << place for place, plane in enumerate(planes))
    return masks


def coloured(root: Path, rng: np.random.Generator) -> Masks:
    """Folders ``x`` and ``y``, whose names say nothing, and classes by colours."""
    masks, palette = {}, np.array([[0, 0, 0], [0, 255, 0], [60, 60, 255], [255, 0, 0]], np.uint8)
    for number in range(8):
        lines = np.roll(np.repeat(np.arange(4), 8), number)[:, None].repeat(40, axis=1)
        save(root / "x" / f"tile{number}.png", picture(rng, lines == np.arange(4)[:, None, None]))
        save(root / "y" / f"tile{number}.png", palette[lines])
        masks[f"tile{number}"] = lines.astype(np.uint8)
    return masks


def compressed(root: Path, rng: np.random.Generator) -> Masks:
    """Masks as JPEG, whose black and white are not quite."""
    masks = {}
    for number in range(8):
        objects = discs(rng, 2)
        save(root / "img" / f"image_{number}.jpg", picture(rng, objects[None] > 0))
        save(root / "mask" / f"mask_{number}.jpg", filled(objects), quality=97)
        masks[str(number)] = (objects > 0).astype(np.uint8)
    return masks


def turned(root: Path, rng: np.random.Generator) -> Masks:
    """Every second photograph is stored on its side; masks are as viewers show it."""
    masks = {}
    (root / "images").mkdir(parents=True)
    for number in range(8):
        objects = discs(rng, 2)
        image, exif = Image.fromarray(picture(rng, objects[None] > 0)), Image.Exif()
        if number % 2:
            exif[274] = 6
            image = image.transpose(Image.Transpose.ROTATE_90)
        image.save(root / "images" / f"{number}.jpg", exif=exif, quality=95)
        save(root / "masks" / f"{number}.png", filled(objects))
        masks[str(number)] = (objects > 0).astype(np.uint8)
    return masks


def two_folders_of_masks(root: Path, rng: np.random.Generator) -> Masks:
    """As DRIVE: the field of view has a folder called mask, and is the same in all images."""
    masks = {}
    for split, first in (("training", 21), ("test", 1)):
        for number in range(first, first + 5):
            objects, name = discs(rng, 2), f"{number:02d}"
            save(root / split / "images" / f"{name}_{split}.tif", picture(rng, objects[None] > 0))
            save(root / split / "1st_manual" / f"{name}_manual1.gif", filled(objects))
            save(root / split / "mask" / f"{name}_{split}_mask.gif", filled(np.ones((32, 40))))
            if split == "training":
                masks[name] = (objects > 0).astype(np.uint8)
    return masks


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
        ["gtFine/val/{folder}/{folder}_{name}_gtFine_labelIds.png", "Masks of the test images are there too"],
    ),
    "by_class_folder": (by_class_folder, 0, ["masks/{class}/{id}.png", "classes: [building, road]"]),
    "by_class_file": (by_class_file, 0, ["masks/{id}_{class}.png", "classes: [EX, HE, MA]"]),
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
