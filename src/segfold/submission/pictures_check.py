"""Reads and checks a zip of palette PNGs."""

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.submission.findings import Findings, lines, of_masks, some
from segfold.submission.forms import Pictures, Shapes, member_name

_INDICES = ("P", "L", "1", "I", "I;16", "I;16B")
"""Pillow's modes of files that hold a number a pixel."""


def check_pictures(path: Path, form: Pictures, shapes: Shapes) -> Findings:
    """See ``segfold.submission.check.check_submission``."""
    try:
        with opened(path) as archive:
            found = archive.namelist()
            wanted = {member_name(image_id): image_id for image_id in shapes}
            problems = _name_problems(found, list(wanted))
            bad = {}
            for place, name in enumerate(dict.fromkeys(found)):
                if name in wanted and (fault := _fault(archive, name, form, form.size or shapes[wanted[name]])):
                    bad[place] = fault
            names = dict(enumerate(dict.fromkeys(found)))
    except zipfile.BadZipFile as error:
        return Findings(lines([f"not a zip ({error}), expected one of a PNG an image"]), [])
    return Findings(lines(problems + of_masks(bad, names, "problems")), [])


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip to read.

    Raises:
        SegfoldError: there is no such file.
        zipfile.BadZipFile: it is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise SegfoldError(f"no file {path}: expected a zip of PNGs") from error
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error


def _name_problems(found: list[str], wanted: list[str]) -> list[str]:
    counted = Counter(found)
    missing = [name for name in wanted if name not in counted]
    surplus = [name for name in counted if name not in set(wanted)]
    doubled = [name for name, times in counted.items() if times > 1]
    problems = []
    absent = {one_form(name) for name in missing}
    if others := [name for name in surplus if one_form(name) in absent]:
        problems.append(f"{some(others, 'file')} in another Unicode form than the ids")
    if inside := [name for name in surplus if name.rpartition("/")[2] in missing]:
        problems.append(f"{some(inside, 'file')} in a folder: put the PNGs into the zip itself")
    if missing:
        problems.append(f"missing {some(missing, 'file')}")
    if surplus:
        problems.append(f"{some(surplus, 'file')} not of the test set")
    if doubled:
        problems.append(f"more than once {some(doubled, 'file')}")
    return problems


def _fault(archive: zipfile.ZipFile, name: str, form: Pictures, shape: tuple[int, int]) -> str | None:
    """What is wrong with a picture, in one line."""
    try:
        with Image.open(BytesIO(_member(archive, name))) as image:
            if image.format != "PNG":
                return f"a file of {image.format}, expected PNG"
            if (image.height, image.width) != shape:
                return f"{image.height}×{image.width}, expected {shape[0]}×{shape[1]}"
            if image.mode != "P":
                return f"a PNG of mode {image.mode}, expected a palette (mode P)"
            values = np.asarray(image)
    except _UnreadableError as error:
        return f"cannot be read: {error}"
    except (OSError, SyntaxError, ValueError) as error:
        return f"cannot be read: {error}"
    if (most := int(values.max(initial=0))) >= form.count:
        pixels = int(np.count_nonzero(values >= form.count))
        return f"{pixels} pixels of values up to {most}, expected the classes 0 to {form.count - 1}"
    return None


class _UnreadableError(Exception):
    """A member of a zip that does not come out of it."""


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _UnreadableError(error) from error


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
    except (OSError, SyntaxError, ValueError) as error:
        raise SegfoldError(f"{where} cannot be read: {error}; copy it anew") from error


class PictureSource:
    """Pictures by id, of a zip or of a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = None if path.is_dir() else _zip_of(path)
        names = [entry.name for entry in path.iterdir()] if self._archive is None else self._archive.namelist()
        self._names = {one_form(name): name for name in names}

    def __contains__(self, image_id: str) -> bool:
        return one_form(member_name(image_id)) in self._names

    def __getitem__(self, image_id: str) -> np.ndarray:
        """H×W numbers; see ``read_values``."""
        name = self._names[one_form(member_name(image_id))]
        where = f"{self.path}: {name}"
        if self._archive is None:
            return read_values((self.path / name).read_bytes(), where)
        try:
            return read_values(_member(self._archive, name), where)
        except _UnreadableError as error:
            raise SegfoldError(f"{where} cannot be read: {error}; copy it anew") from error


def _zip_of(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise SegfoldError(f"{path} does not exist: expected a zip or a folder of masks") from error
    except zipfile.BadZipFile as error:
        raise SegfoldError(f"{path} is no zip ({error}): expected a zip or a folder of masks") from error
    except OSError as error:
        raise SegfoldError(f"{path} cannot be read: {error.strerror or error}") from error
