"""The tiny sets with formats of their own: DICOM, arrays of numpy, and the folders of VOC; see ``competition_sets``."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

import competition_sets as sets
from competition_sets import SHAPE, TEST, TRAIN, Maker, TinySet, discs, picture, rle, save, table


def siim_pneumothorax(root: Path, rng: np.random.Generator) -> TinySet:
    """A row an annotation; every second file is JPEG inside, as the real ones are; one image is in no row."""
    made = TinySet(root.parent / "truth.csv")
    train, test = [], []
    for number in range(TRAIN + TEST + 1):
        uid = f"1.2.276.0.7230010.3.1.{{}}.8323329.{300 + number}.1517875162.{258079 + number}"
        name = uid.format(4)
        split = "test" if TRAIN <= number < TRAIN + TEST else "train"
        objects = discs(rng, (0, 1, 0, 2)[number % 4])
        pixels = picture(rng, objects[None] > 0)[..., 0]
        path = root / f"dicom-images-{split}" / uid.format(2) / uid.format(3) / f"{name}.dcm"
        write_dicom(path, pixels, name, jpeg=number % 2 == 0)
        rows = [rle(objects == each, relative=True) for each in range(1, objects.max() + 1)]
        if split == "test":
            test.append(f"{name},{rle(objects, relative=True) or '-1'}")
            made.test.append(name)
        elif number < TRAIN:
            train += [f"{name}, {text}" for text in rows or ["-1"]]
            made.masks[name], made.objects[name] = (objects > 0).astype(np.uint8), objects
            if number % 2:
                made.images[name] = pixels[..., None]
    table(root / "train-rle.csv", "ImageId, EncodedPixels", train)
    table(root / "sample_submission.csv", "ImageId,EncodedPixels", (f"{name},-1" for name in made.test))
    table(made.truth, "ImageId,EncodedPixels", test)
    return made


def write_dicom(path: Path, pixels: np.ndarray, uid: str, jpeg: bool) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, uid
    data.Modality, data.PatientSex, data.ViewPosition = "CR", "F", "PA"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    if jpeg:
        packed = io.BytesIO()
        Image.fromarray(pixels).save(packed, "JPEG", quality=95)
        data.PixelData = encapsulate([packed.getvalue()])
        data["PixelData"].is_undefined_length = True
    else:
        data.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def contrails(root: Path, rng: np.random.Generator) -> TinySet:
    """Nine bands of eight times; every time but the labelled one shows other shapes."""
    made = TinySet(root.parent / "truth.csv")
    test, number = [], 0
    for split, count in (("train", TRAIN), ("validation", TEST), ("test", TEST)):
        records = []
        for _ in range(count):
            number += 1
            name = f"{1000216489776414077 + 7919 * number}"
            folder = root / split / name
            folder.mkdir(parents=True)
            objects = discs(rng, number % 3)
            times = [discs(rng, 2) > 0 for _ in range(8)]
            times[4] = objects > 0
            bands = []
            for band in range(8, 17):
                cold = rng.normal(290, 3, (*SHAPE, 8)) - 8 * band * 0.5 * np.stack(times, axis=2)
                bands.append(cold.astype(np.float32))
                np.save(folder / f"band_{band:02d}.npy", bands[-1])
            records.append({"record_id": name, "row_min": 0.0, "timestamp": 1570558800.0})
            if split == "test":
                test.append(f"{name},{rle(objects) or '-'}")
                made.test.append(name)
                continue
            np.save(folder / "human_pixel_masks.npy", (objects > 0).astype(np.int32)[..., None])
            if split == "train":
                np.save(folder / "human_individual_masks.npy", (objects > 0).astype(np.int32)[..., None, None])
            else:
                made.held_out.add(name)
            kelvin = np.stack([band[..., 4] for band in bands], axis=2).astype(np.float64)
            made.images[name] = np.floor((kelvin.clip(180, 330) - 180) / 150 * 65535 + 0.5)
            made.masks[name] = (objects > 0).astype(np.uint8)
        if split != "test":
            (root / f"{split}_metadata.json").write_text(json.dumps(records))
    table(root / "sample_submission.csv", "record_id,encoded_pixels", (f"{name},1 1" for name in made.test))
    table(made.truth, "record_id,encoded_pixels", test)
    return made


def pascal_voc_2012(root: Path, rng: np.random.Generator) -> TinySet:
    """Objects of one or two of twenty classes with borders that do not count, and an image that no list names."""
    made = TinySet(root.parent / "truth")
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": [], "trainval": []}
    for number in range(TRAIN + 2 * TEST):
        split = "train" if number < TRAIN else "val" if number < TRAIN + TEST else "test"
        name = f"2007_{32 + 7 * number:06d}"
        objects = discs(rng, 1 + number % 3)
        classes = np.zeros(SHAPE, np.uint8)
        for each in range(1, objects.max() + 1):
            classes[objects == each] = 1 + (2 * number + each) % 20
        save(root / "JPEGImages" / f"{name}.jpg", picture(rng, classes == np.arange(1, 21)[:, None, None]), quality=95)
        lists[split].append(name)
        inside = objects > 0
        shrunk = (
            inside & np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
        )
        border = inside & ~shrunk
        classes[border] = 255
        if split == "test":
            made.test.append(name)
            save(made.truth / f"{name}.png", classes, palette=True)
            continue
        save(root / "SegmentationClass" / f"{name}.png", classes, palette=True)
        save(root / "SegmentationObject" / f"{name}.png", np.where(border, 255, objects).astype(np.uint8), palette=True)
        made.masks[name], made.objects[name] = classes, np.where(border, 0, objects)
        if split == "val":
            made.held_out.add(name)
    lists["trainval"] = lists["train"] + lists["val"]
    for split, names in lists.items():
        table(root / "ImageSets" / "Segmentation" / f"{split}.txt", names[0], names[1:])
    save(root / "JPEGImages" / "2007_999999.jpg", picture(rng, np.zeros((1, *SHAPE), bool)), quality=95)
    (root / "Annotations").mkdir()
    (root / "Annotations" / "2007_999999.xml").write_text("<annotation/>\n")
    return made


def camvid(root: Path, rng: np.random.Generator) -> TinySet:
    """Four layers of the eleven classes an image, each in turn, and pixels that do not count between two of them."""
    made = TinySet(root.parent / "truth")
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(TRAIN + 2 * TEST):
        split = "train" if number < TRAIN else "val" if number < TRAIN + TEST else "test"
        name = f"0001TP_{6690 + 30 * number:06d}"
        classes = np.repeat([(number + 3 * layer) % 11 for layer in range(4)], SHAPE[0] // 4).astype(np.uint8)
        classes = np.tile(classes[:, None], SHAPE[1])
        save(root / "JPEGImages" / f"{name}.jpg", picture(rng, classes == np.arange(11)[:, None, None]), quality=95)
        classes[15:17, 10:30] = 255
        lists[split].append(name)
        if split == "test":
            made.test.append(name)
            save(made.truth / f"{name}.png", classes, palette=True)
            continue
        save(root / "SegmentationClass" / f"{name}.png", classes, palette=True)
        made.masks[name] = classes
        if split == "val":
            made.held_out.add(name)
    for split, names in lists.items():
        table(root / "ImageSets" / "Segmentation" / f"{split}.txt", names[0], names[1:])
    return made


def salt(root: Path, rng: np.random.Generator) -> TinySet:
    """Grey pictures as PNG of three channels, 16-bit masks with an 8-bit empty one, and a table of depths."""
    made = TinySet(root.parent / "truth.csv")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    depths = []
    for number, name in enumerate(sets.hexes(rng, 10, TRAIN + TEST)):
        split = "train" if number < TRAIN else "test"
        objects = discs(rng, number % 3)
        pixels = picture(rng, objects[None] > 0)[..., :1].repeat(3, axis=2)
        save(root / split / "images" / f"{name}.png", pixels)
        lines[split].append(f"{name},{rle(objects)}")
        depths.append(f"{name},{50 + 7 * number}")
        if split == "test":
            made.test.append(name)
            continue
        stored = (objects > 0).astype(np.uint16) * 65535 if objects.any() else np.zeros(SHAPE, np.uint8)
        save(root / "train" / "masks" / f"{name}.png", stored)
        made.masks[name], made.images[name] = (objects > 0).astype(np.uint8), pixels
    table(root / "train.csv", "id,rle_mask", lines["train"])
    table(root / "sample_submission.csv", "id,rle_mask", (f"{name},1 1" for name in made.test))
    table(root / "depths.csv", "id,z", depths)
    table(made.truth, "id,rle_mask", lines["test"])
    return made


def synthetic_salt(root: Path, rng: np.random.Generator) -> TinySet:
    """As ``salt``, with the answers beside the data."""
    made = salt(root, rng)
    (root / "solution.csv").write_text(made.truth.read_text())
    return made


MAKERS: dict[str, Maker] = {
    "airbus-ships": sets.airbus_ships,
    "camvid": camvid,
    "carvana": sets.carvana,
    "clouds": sets.clouds,
    "contrails": contrails,
    "dsb-2018": sets.dsb_2018,
    "hubmap-kidney": sets.hubmap_kidney,
    "pascal-voc-2012": pascal_voc_2012,
    "severstal-steel": sets.severstal_steel,
    "siim-pneumothorax": siim_pneumothorax,
    "synthetic-salt": synthetic_salt,
    "tgs-salt": salt,
    "uw-madison-gi": sets.uw_madison_gi,
}
