"""Reads and checks a zip of palette PNGs."""

import zipfile
import zlib
from collections import Counter
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.submission.findings import Findings, lines, of_masks, some
from segfold.submission.forms import Pictures, Shapes, member_name

_INDICES = ("P", "L", "1", "I", "I;16", "I;16B")
"""Pillow's modes of files that hold a number a pixel."""


def check_pictures(path: Path, form: Pictures, shapes: Shapes) -> Findings:
    """See ``segfold.submission.check.check_submission``; a folder is looked at like a zip of it."""
    try:
        files = Files(path)
    except zipfile.BadZipFile as error:
        return Findings(lines([f"not a zip ({error}), expected one of a PNG an image"]), [])
    with files:
        wanted = {member_name(image_id): image_id for image_id in shapes}
        problems = _name_problems(files.names, list(wanted))
        names = dict(enumerate(dict.fromkeys(files.names)))
        bad = {}
        for place, name in names.items():
            if name in wanted and (fault := _fault(files, name, form, form.size or shapes[wanted[name]])):
                bad[place] = fault
    return Findings(lines(problems + of_masks(bad, names, "problems")), [])


class Files:
    """The files of a zip or of a folder; close it, or use it in a ``with``.

    Attributes:
        names: of the files; what is hidden in a folder is none.

    Raises:
        SegfoldError: there is neither.
        zipfile.BadZipFile: a file that is no zip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        try:
            if path.is_dir():
                self.names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
            else:
                self._archive = zipfile.ZipFile(path)
                self.names = self._archive.namelist()
        except FileNotFoundError as error:
            raise SegfoldError(f"no file {path}: expected a zip of PNGs, or a folder of them") from error
        except OSError as error:
            raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    @cached_property
    def by_form(self) -> dict[str, str]:
        """The names by their one Unicode form."""
        return {one_form(name): name for name in self.names}

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            UnreadableError: they cannot be had.
        """
        try:
            return (self.path / name).read_bytes() if self._archive is None else self._archive.read(name)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise UnreadableError(error) from error


class UnreadableError(Exception):
    """A file that does not come out of its zip or folder."""


def _name_problems(found: list[str], wanted: list[str]) -> list[str]:
    counted = Counter(found)
    missing = [name for name in wanted if name not in counted]
    known, lacking = set(wanted), set(missing)
    surplus = [name for name in counted if name not in known]
    doubled = [name for name, times in counted.items() if times > 1]
    problems = []
    absent = {one_form(name) for name in missing}
    if others := [name for name in surplus if one_form(name) in absent]:
        problems.append(f"{some(others, 'file')} in another Unicode form than the ids")
    if inside := [name for name in surplus if name.rpartition("/")[2] in lacking]:
        problems.append(f"{some(inside, 'file')} in a folder: put the PNGs into the zip itself")
    if missing:
        problems.append(f"missing {some(missing, 'file')}")
    if surplus:
        problems.append(f"{some(surplus, 'file')} not of the test set")
    if doubled:
        problems.append(f"more than once {some(doubled, 'file')}")
    return problems


def _fault(files: Files, name: str, form: Pictures, shape: tuple[int, int]) -> str | None:
    """What is wrong with a picture, in one line."""
    try:
        with Image.open(BytesIO(files.read(name))) as image:
            if image.format != "PNG":
                return f"a file of {image.format}, expected PNG"
            if (image.height, image.width) != shape:
                return f"{image.height}×{image.width}, expected {shape[0]}×{shape[1]}"
            if image.mode != "P":
                return f"a PNG of mode {image.mode}, expected a palette (mode P)"
            values = np.asarray(image)
    except UnidentifiedImageError:
        return "cannot be read: it is no picture"
    except (UnreadableError, OSError, SyntaxError, ValueError) as error:
        return f"cannot be read: {error}"
    if (most := int(values.max(initial=0))) >= form.count:
        pixels = int(np.count_nonzero(values >= form.count))
        return f"{pixels} pixels of values up to {most}, expected the classes 0 to {form.count - 1}"
    return None


def read_values(data: bytes, where: str) -> np.ndarray:
    """H×W numbers of a mask file of class indices, or of grey values.

    Args:
        where: what to call the file.

    Raises:
        SegfoldError: it cannot be read, or has colours without a palette.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            if image.mode not in _INDICES:
                raise SegfoldError(
                    f"{where} is of mode {image.mode}, expected class indices: a palette or one channel; save it with a palette"
                )
            return np.asarray(image).astype(np.int64)
    except UnidentifiedImageError:
        raise SegfoldError(f"{where} cannot be read: it is no picture; copy it anew") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise SegfoldError(f"{where} cannot be read: {error}; copy it anew") from error


def values_of(files: Files, image_id: str) -> np.ndarray:
    """H×W numbers of an image's mask; see ``read_values``."""
    name = files.by_form[one_form(member_name(image_id))]
    where = f"{files.path}: {name}"
    try:
        return read_values(files.read(name), where)
    except UnreadableError as error:
        raise SegfoldError(f"{where} cannot be read: {error}; copy it anew") from error
