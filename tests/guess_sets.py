"""Small sets in layouts that no competition file describes."""

from pathlib import Path

import numpy as np
from PIL import Image

from competition_sets import discs, picture, regions, rle, save, table

Masks = dict[str, np.ndarray]
"""The mask of each image, by its id."""


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


def by_lot(root: Path, rng: np.random.Generator) -> Masks:
    """Classes by files, in folders that say nothing; the sample names an image and its class."""
    masks, sample = {}, []
    for number in range(16):
        name, lot = f"B{number:04d}", f"lot{number % 3}"
        planes = regions(rng, [0, 1][: number % 3], 2, (32, 40))
        save(root / ("boards" if number < 12 else "test_boards") / lot / f"{name}.jpg", picture(rng, planes))
        for kind, plane in zip(("crack", "knot"), planes):
            if number < 12:
                save(root / "masks" / lot / f"{name}_{kind}.png", filled(plane))
            else:
                sample.append(f"{name}_{kind},")
        if number < 12:
            masks[name] = planes[0] + 2 * planes[1].astype(np.uint8)
    table(root / "sample_submission.csv", "Id_Class,Pixels", sample)
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
