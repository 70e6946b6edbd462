"""The mask of an image, from what a layout has of it: files, or rows of run lengths."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segfold.errors import SegfoldError
from segfold.layouts import rle
from segfold.layouts.base import Table
from segfold.layouts.decode import Reading, mask_values, palette_of, raw_mask, read_mask
from segfold.layouts.ids import one_form
from segfold.layouts.patterns import Match
from segfold.layouts.records import CLASS, Record
from segfold.layouts.rows import Row
from segfold.layouts.table import shorten
from segfold.tasks import Mask

Shape = tuple[int, int]
_MOST_OBJECTS = 65535


class Masks(NamedTuple):
    """The mask of an image, and the numbers of its objects: H×W uint16, 0 where there is none; None without objects."""

    mask: Mask
    instances: np.ndarray | None = None


def masks_of_files(reading: Reading, record: Record, shape: Shape, objects: bool) -> Masks:
    """The mask of an image from its files.

    Args:
        shape: of the image.
        objects: whether each file is an object, or there is a file of object numbers.

    Raises:
        SegfoldError: a file cannot be read, has another size than the image, or holds what is no class.
    """
    if not record.masks:
        return Masks(_empty(reading, shape, f"image {record.id}"), np.zeros(shape, np.uint16) if objects else None)
    if record.objects is not None:
        return Masks(file_mask(reading, record.masks[0].path, shape), _object_map(reading, record.objects.path, shape))
    if not objects and CLASS not in record.masks[0].fields:
        return Masks(file_mask(reading, record.masks[0].path, shape))
    labelled = [(_label(reading, match), match.path) for match in record.masks]
    planes = np.zeros((len(reading.task.classes), *shape), bool)
    instances = _no_objects(shape, len(labelled), record.id) if objects else None
    for number, (label, path) in enumerate(labelled, start=1):
        found = _checked(
            read_mask(path, exif=reading.exif, threshold=reading.mask_threshold, palette=palette_of(reading)),
            path,
            shape,
        )
        planes[label] |= found > 0
        if instances is not None:
            instances[found > 0] = number
    return Masks(reading.task.mask(planes), instances)


def file_mask(reading: Reading, path: Path, shape: Shape) -> Mask:
    """The mask of a file that holds all classes. Errors as ``masks_of_files``."""
    if reading.mask_colours is not None:
        return _by_colours(reading, reading.mask_colours, path, shape)
    if len(reading.task.classes) == 1:
        mask = read_mask(path, exif=reading.exif, threshold=reading.mask_threshold, palette=palette_of(reading))
        return _checked(mask, path, shape)
    values = raw_mask(path, exif=reading.exif, palette=palette_of(reading))
    if values.ndim == 3:
        colours = values[:, :, :3]
        if (colours != colours[:, :, :1]).any():
            raise SegfoldError(
                f"{path} is an RGB picture of {_colours_of(colours)}: expected class indices, grey or in a palette; set "
                "mask_colours: {class: [r, g, b], …} in the competition file if its colours are the classes"
            )
    values = mask_values(path, exif=reading.exif, palette=palette_of(reading))
    return reading.task.read(_checked(values, path, shape), reading.void, str(path))


def masks_of_rows(reading: Reading, rows: Sequence[Row], table: Table, shape: Shape, where: str) -> Masks:
    """The mask of an image from the rows of the train table.

    Args:
        where: names table and image in messages.

    Raises:
        SegfoldError: run lengths that are malformed, or leave the image.
    """
    task, objects = reading.task, table.row == "instance"
    if len(task.classes) == 1 and not objects:
        return Masks(decode_text(rows[0].text if rows else "", shape, table, where))
    if not rows:
        return Masks(_empty(reading, shape, where), np.zeros(shape, np.uint16) if objects else None)
    planes = np.zeros((len(task.classes), *shape), bool)
    instances = _no_objects(shape, len(rows), where) if objects else None
    for number, row in enumerate(rows, start=1):
        found = decode_text(row.text, shape, table, where) > 0
        planes[row.label] |= found
        if instances is not None:
            instances[found] = number
    return Masks(task.mask(planes), instances)


def decode_text(text: str, shape: Shape, table: Table, where: str) -> np.ndarray:
    """An RLE's mask; a bad one is an error that says ``where`` it stands."""
    try:
        return rle.decode(text, shape, table.order, table.relative)
    except rle.RleError as error:
        raise SegfoldError(f"{where}: {error}") from error


def size(shape: tuple[int, ...]) -> str:
    """``height×width``, for messages."""
    return f"{shape[0]}×{shape[1]}"


class MaskSizeError(SegfoldError):
    """A mask file of another size than its image."""

    def __init__(self, path: Path, found: tuple[int, ...], shape: Shape) -> None:
        self.path, self.sizes = path, f"{size(found)}, its image is {size(shape)}"
        super().__init__(f"{path} is {self.sizes}: expected the same size")


def _checked(mask: np.ndarray, path: Path, shape: Shape) -> np.ndarray:
    if mask.shape != shape:
        raise MaskSizeError(path, mask.shape, shape)
    return mask


def _empty(reading: Reading, shape: Shape, where: str) -> Mask:
    mask = reading.task.empty(shape)
    if mask is None:
        raise SegfoldError(f"{where} has no mask, and no class is background: every image needs a mask")
    return mask


def _label(reading: Reading, match: Match) -> int:
    """Index of the class of a mask file."""
    classes = reading.task.classes
    if len(classes) == 1 and CLASS not in match.fields:
        return 0
    if CLASS not in match.fields:
        raise SegfoldError(
            f"{match.path} is one of several mask files of its image: {{class}} in train_masks says its class"
        )
    return [one_form(name) for name in classes].index(match.fields[CLASS])


def _no_objects(shape: Shape, count: int, where: str) -> np.ndarray:
    if count > _MOST_OBJECTS:
        raise SegfoldError(f"{where} has {count} objects: expected at most {_MOST_OBJECTS}")
    return np.zeros(shape, np.uint16)


def _object_map(reading: Reading, path: Path, shape: Shape) -> np.ndarray:
    """Object numbers of a file; the border between objects, which is void, is of none."""
    values = _checked(mask_values(path, exif=reading.exif, palette="indices"), path, shape)
    if values.max(initial=0) > _MOST_OBJECTS:
        raise SegfoldError(f"{path} holds the object number {values.max()}: expected at most {_MOST_OBJECTS}")
    return np.where(values == (-1 if reading.void is None else reading.void), 0, values).astype(np.uint16)


def _by_colours(reading: Reading, named: dict[str, tuple[int, int, int]], path: Path, shape: Shape) -> Mask:
    pixels = raw_mask(path, exif=reading.exif, palette="colours")
    pixels = pixels[:, :, None].repeat(3, axis=2) if pixels.ndim == 2 else pixels[:, :, 2::-1]
    _checked(pixels[:, :, 0], path, shape)
    task = reading.task
    planes = np.zeros((len(task.classes), *shape), bool)
    known = np.zeros(shape, bool)
    for name, colour in named.items():
        of_colour = (pixels == np.array(colour)).all(axis=2)
        known |= of_colour
        if name in task.classes:
            planes[task.classes.index(name)] |= of_colour
    if task.empty((1, 1)) is None and not known.all():
        raise SegfoldError(
            f"{path} has {_colours_of(pixels[~known][:, ::-1])} that mask_colours does not name: name them there, those of pixels "
            "that do not count as void"
        )
    return task.mask(planes)


def _colours_of(pixels: np.ndarray) -> str:
    """The colours of pixels in OpenCV's order, for messages."""
    found = np.unique(pixels.reshape(-1, 3), axis=0)[:, ::-1]
    return f"colours {shorten([str(colour.tolist()) for colour in found], 4)}"
