"""Tiny sets in exactly the layouts of real competitions: folders, file formats, tables, columns, empties, objects.

Made by numpy, PIL and pydicom alone: nothing here is shared with the package. Bright shapes lie on noise, so that a
tiny network could learn them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tiff_files import DEFLATE, write_tiff

SHAPE = (32, 40)
TRAIN, TEST = 10, 4


@dataclass
class TinySet:
    """What was written.

    Attributes:
        truth: a CSV with the masks of the test images, or a folder of their maps, as one submits them.
        masks: of the images with known masks, by id: 0 and 1, indices with 255 for void, or a bit a class.
        images: by id, H×W×C, where the file format keeps every value.
        objects: by id, H×W with a number an object.
        groups: by id.
        held_out: ids of the competition's own validation split.
        test: ids of the test set.
    """

    truth: Path
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    objects: dict[str, np.ndarray] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    held_out: set[str] = field(default_factory=set)
    test: list[str] = field(default_factory=list)


def rle(mask: np.ndarray, order: str = "column", relative: bool = False) -> str:
    """Pixel by pixel; numbered from 1, or relative and from 0."""
    height, width = mask.shape
    if order == "column":
        places = [(row, column) for column in range(width) for row in range(height)]
    else:
        places = [(row, column) for row in range(height) for column in range(width)]
    runs: list[list[int]] = []
    for number, place in enumerate(places):
        if mask[place] and runs and sum(runs[-1]) == number:
            runs[-1][1] += 1
        elif mask[place]:
            runs.append([number, 1])
    end, texts = 0, []
    for start, length in runs:
        texts.append(f"{start - end if relative else start + 1} {length}")
        end = start + length
    return " ".join(texts)


def discs(rng: np.random.Generator, count: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """H×W with a number for each of ``count`` discs, which do not touch."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    cells = [(top, left) for top in range(0, shape[0] - 11, 12) for left in range(0, shape[1] - 11, 12)]
    objects = np.zeros(shape, int)
    for number, cell in enumerate(rng.permutation(len(cells))[:count], start=1):
        top, left = cells[cell]
        radius = rng.integers(3, 6)
        objects[(rows - top - 6) ** 2 + (columns - left - 6) ** 2 < radius**2] = number
    return objects


def regions(rng: np.random.Generator, present: Iterable[int], classes: int, shape: tuple[int, int]) -> np.ndarray:
    """C×H×W; each class that is present has a disc, and they may overlap."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    planes = np.zeros((classes, *shape), bool)
    for number in present:
        centre = rng.integers(8, shape[0] - 8), rng.integers(8, shape[1] - 8)
        planes[number] = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < min(shape) ** 2 / 12
    return planes


def colour(number: int) -> np.ndarray:
    """Of a class on a picture: one that no other class of up to 26 has."""
    return np.array([number // 9 % 3, number // 3 % 3, number % 3]) * 60.0 + 20


def picture(rng: np.random.Generator, planes: np.ndarray) -> np.ndarray:
    """H×W×3 uint8 of noise with a colour added where each plane of C×H×W is true."""
    values = rng.normal(70, 15, (*planes.shape[1:], 3))
    for number, plane in enumerate(planes):
        values[plane] += colour(25 - number)
    return values.clip(0, 255).astype(np.uint8)


def bits(planes: np.ndarray) -> np.ndarray:
    return sum(plane.astype(np.uint8) << number for number, plane in enumerate(planes))


def save(path: Path, pixels: np.ndarray, palette: bool = False, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(voc_palette())
    image.save(path, **options)


def voc_palette() -> list[int]:
    """The bits of an index, three at a time, from the top bits of red, green and blue down."""
    values = []
    for index in range(256):
        rgb = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                rgb[channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
        values += rgb
    return values


def table(path: Path, header: str, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")


def hexes(rng: np.random.Generator, digits: int, count: int) -> list[str]:
    return [rng.bytes(32).hex()[:digits] for _ in range(count)]


def present(number: int, classes: int) -> list[int]:
    """Which classes image ``number`` has: none, one, two or three of them, each in turn."""
    return [(number + step) % classes for step in range(number % 4)]


def carvana(root: Path, rng: np.random.Generator) -> TinySet:
    made = TinySet(root.parent / "truth.csv")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for split, cars in (("train", 5), ("test", 2)):
        for car in hexes(rng, 12, cars):
            for side in (1, 2):
                name = f"{car}_{side:02d}"
                objects = discs(rng, 2)
                save(root / split / f"{name}.jpg", picture(rng, objects[None] > 0), quality=95)
                lines[split].append(f"{name}.jpg,{rle(objects, 'row')}")
                if split == "train":
                    made.masks[name] = (objects > 0).astype(np.uint8)
                    made.groups[name] = car
                    image = Image.fromarray(made.masks[name])
                    image.putpalette([0, 0, 0, 255, 255, 255])
                    (root / "train_masks").mkdir(exist_ok=True)
                    image.save(root / "train_masks" / f"{name}_mask.gif")
                else:
                    made.test.append(name)
    table(root / "train_masks.csv", "img,rle_mask", lines["train"])
    table(root / "sample_submission.csv", "img,rle_mask", (f"{name}.jpg,1 1" for name in made.test))
    table(root / "metadata.csv", "id,year,make,model,trim1,trim2", (f"{car},2010,A,B,C,D" for car in made.groups))
    table(made.truth, "img,rle_mask", lines["test"])
    return made


def dsb_2018(root: Path, rng: np.random.Generator) -> TinySet:
    made = TinySet(root.parent / "truth.csv")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(hexes(rng, 64, TRAIN + TEST)):
        split = "train" if number < TRAIN else "test"
        shape = SHAPE if number % 2 else (40, 32)
        objects = discs(rng, 1 + number % 4, shape)
        pixels = np.dstack([picture(rng, objects[None] > 0), np.full(shape, 255, np.uint8)])
        save(root / f"stage1_{split}" / name / "images" / f"{name}.png", pixels)
        lines[split] += [f"{name},{rle(objects == each)}" for each in range(1, objects.max() + 1)]
        if split == "test":
            made.test.append(name)
            continue
        made.masks[name], made.objects[name] = (objects > 0).astype(np.uint8), objects
        made.images[name] = pixels[..., :3]
        for each, nucleus in enumerate(hexes(rng, 64, objects.max()), start=1):
            save(root / "stage1_train" / name / "masks" / f"{nucleus}.png", ((objects == each) * 255).astype(np.uint8))
    header = "ImageId,EncodedPixels"
    table(root / "stage1_train_labels.csv", header, lines["train"])
    table(root / "stage1_sample_submission.csv", header, (f"{name},1 1" for name in made.test))
    table(made.truth, header, lines["test"])
    return made


def airbus_ships(root: Path, rng: np.random.Generator) -> TinySet:
    made = TinySet(root.parent / "truth.csv")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(hexes(rng, 9, TRAIN + TEST)):
        split = "train" if number < TRAIN else "test"
        objects = discs(rng, number % 3)
        save(root / f"{split}_v2" / f"{name}.jpg", picture(rng, objects[None] > 0), quality=95)
        ships = [rle(objects == each) for each in range(1, objects.max() + 1)] or [""]
        lines[split] += [f"{name}.jpg,{text}" for text in ships]
        if split == "train":
            made.masks[name], made.objects[name] = (objects > 0).astype(np.uint8), objects
        else:
            made.test.append(name)
    header = "ImageId,EncodedPixels"
    table(root / "train_ship_segmentations_v2.csv", header, lines["train"])
    table(root / "sample_submission_v2.csv", header, (f"{name}.jpg,1 2" for name in made.test))
    table(made.truth, header, lines["test"])
    return made


def severstal_steel(root: Path, rng: np.random.Generator) -> TinySet:
    """The train table has rows for defects alone, and the first image has none."""
    made = TinySet(root.parent / "truth.csv")
    train, test = [], []
    for number, name in enumerate(hexes(rng, 9, TRAIN + TEST)):
        planes = regions(rng, present(number, 4), 4, (32, 80))
        split = "train" if number < TRAIN else "test"
        grey = picture(rng, planes).mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
        save(root / f"{split}_images" / f"{name}.jpg", grey, quality=95)
        if split == "train":
            train += [f"{name}.jpg,{kind + 1},{rle(planes[kind])}" for kind in range(4) if planes[kind].any()]
            made.masks[name] = bits(planes)
        else:
            test += [f"{name}.jpg_{kind + 1},{rle(planes[kind])}" for kind in range(4)]
            made.test.append(name)
    table(root / "train.csv", "ImageId,ClassId,EncodedPixels", train)
    sample = (f"{name}.jpg_{kind},1 409600" for name in made.test for kind in range(1, 5))
    table(root / "sample_submission.csv", "ImageId_ClassId,EncodedPixels", sample)
    table(made.truth, "ImageId_ClassId,EncodedPixels", test)
    return made


def clouds(root: Path, rng: np.random.Generator) -> TinySet:
    """The submission's masks are five times as high and wide as these images."""
    made = TinySet(root.parent / "truth.csv")
    kinds = ("Fish", "Flower", "Gravel", "Sugar")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(hexes(rng, 7, TRAIN + TEST)):
        planes = regions(rng, present(number, 4), 4, (70, 105))
        split = "train" if number < TRAIN else "test"
        save(root / f"{split}_images" / f"{name}.jpg", picture(rng, planes), quality=95)
        for kind, plane in zip(kinds, planes):
            large = plane if split == "train" else plane.repeat(5, axis=0).repeat(5, axis=1)
            lines[split].append(f"{name}.jpg_{kind},{rle(large)}")
        if split == "train":
            made.masks[name] = bits(planes)
        else:
            made.test.append(name)
    header = "Image_Label,EncodedPixels"
    table(root / "train.csv", header, lines["train"])
    table(root / "sample_submission.csv", header, (f"{name}.jpg_{k},1 1" for name in made.test for k in kinds))
    table(made.truth, header, lines["test"])
    return made


def hubmap_kidney(root: Path, rng: np.random.Generator) -> TinySet:
    """Tiled TIFFs; one to train with and one of the test set are larger than the others."""
    made = TinySet(root.parent / "truth.csv")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    patients = []
    for number, name in enumerate(hexes(rng, 9, TRAIN + TEST)):
        split = "train" if number < TRAIN else "test"
        objects = discs(rng, 1 + number % 3, (96, 130) if number in (1, TRAIN + TEST - 1) else SHAPE)
        pixels = picture(rng, objects[None] > 0)
        (root / split).mkdir(exist_ok=True)
        write_tiff(root / split / f"{name}.tiff", pixels, tile=(32, 48), compression=DEFLATE)
        (root / split / f"{name}-anatomical-structure.json").write_text("[]")
        lines[split].append(f"{name},{rle(objects)}")
        patients.append(f"{name}.tiff,{objects.shape[1]},{objects.shape[0]},{60000 + number // 2},F")
        if split == "train":
            (root / split / f"{name}.json").write_text("[]")
            made.masks[name], made.images[name] = (objects > 0).astype(np.uint8), pixels
        else:
            made.test.append(name)
    table(root / "train.csv", "id,encoding", lines["train"])
    table(root / "sample_submission.csv", "id,predicted", (f"{name}," for name in made.test))
    header = "image_file,width_pixels,height_pixels,patient_number,sex"
    table(root / "HuBMAP-20-dataset_information.csv", header, patients)
    table(made.truth, "id,predicted", lines["test"])
    return made


def uw_madison_gi(root: Path, rng: np.random.Generator) -> TinySet:
    """Slices of five cases to train with; two scans of other cases to test."""
    made = TinySet(root.parent / "truth.csv")
    kinds = ("large_bowel", "small_bowel", "stomach")
    train, test = [], []
    for case, day in ((2, 1), (7, 0), (7, 20), (36, 14), (123, 20), (9, 22), (101, 26)):
        split = "test" if case in (9, 101) else "train"
        for number in (1, 2):
            name = f"case{case}_day{day}_slice_{number:04d}"
            planes = regions(rng, present(case + number, 3), 3, SHAPE)
            pixels = picture(rng, planes).mean(axis=2).astype(np.uint16) * 60
            folder = root / split / f"case{case}" / f"case{case}_day{day}" / "scans"
            save(folder / f"slice_{number:04d}_40_32_1.50_1.50.png", pixels)
            rows = [f"{name},{kind},{rle(plane, 'row')}" for kind, plane in zip(kinds, planes)]
            if split == "test":
                test += rows
                made.test.append(name)
                continue
            train += rows
            made.masks[name], made.images[name] = bits(planes), pixels[..., None]
            made.groups[name] = f"case{case}"
    table(root / "train.csv", "id,class,segmentation", train)
    sample = (f"{name},{kind}," for name in made.test for kind in kinds)
    table(root / "sample_submission.csv", "id,class,predicted", sample)
    table(made.truth, "id,class,predicted", test)
    return made


Maker = Callable[[Path, np.random.Generator], TinySet]
