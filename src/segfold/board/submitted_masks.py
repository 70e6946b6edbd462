"""The masks in a submission's file, as the host reads them, at the size of the images."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.leaderboard.ledger import checksum
from segfold.resize import Shape
from segfold.submission.forms import Pictures, Row, form_of, member_name
from segfold.submission.pictures_check import Files, values_of
from segfold.submission.tables import masks_of, planes_of, texts_of
from segfold.tasks import Mask


def what_is_wrong(path: Path, sha256: str) -> str | None:
    """Why a file is not the one that was submitted; None where it is."""
    if not path.is_file():
        return "the file is gone"
    try:
        return None if checksum(path) == sha256 else "the file has changed since it was written"
    except SegfoldError as error:
        return str(error)


def read_submitted(
    path: Path, competition: Competition, ids: Sequence[str], shapes: Sequence[Shape]
) -> Iterator[Mask | None]:
    """The mask of each image, None of one that the file does not have.

    Args:
        shapes: (height, width) of each image; masks that the competition wants in another size are brought to it.

    Raises:
        SegfoldError: the file cannot be read, or holds a mask that does not fit.
    """
    task = competition.task
    for mask, shape in zip(_masks(path, competition, ids, shapes), shapes):
        yield mask if mask is None or mask.shape == shape else task.resized(mask, shape)


def _masks(path: Path, competition: Competition, ids: Sequence[str], shapes: Sequence[Shape]) -> Iterator[Mask | None]:
    form, task = form_of(competition), competition.task
    if isinstance(form, Pictures):
        try:
            files = Files(path)
        except zipfile.BadZipFile as error:
            raise SegfoldError(f"{path} is no zip ({error})") from error
        with files:
            for name in ids:
                there = one_form(member_name(name)) in files.by_form
                yield task.read(values_of(files, name), None, f"{path}: {name}") if there else None
        return
    texts = texts_of(path, form, ids)
    for name, shape in zip(ids, shapes):
        if all(Row(name, label) in texts for label in task.rows):
            planes = planes_of([name], form.shape(shape), form, texts)
            yield next(masks_of(planes, form))
        else:
            yield None
