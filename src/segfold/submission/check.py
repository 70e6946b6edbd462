"""Checks a submission as the host does before scoring it."""

from collections.abc import Callable, Iterable
from pathlib import Path

from segfold.competition import Competition
from segfold.data.images import ImageSet, load_split
from segfold.layouts.ids import one_form
from segfold.resize import Shape
from segfold.submission.findings import Findings
from segfold.submission.forms import Shapes, Table, form_of, image_ids, sample_order
from segfold.submission.pictures_check import check_pictures
from segfold.submission.table_check import check_table


def check_submission(path: Path | str, competition: Competition, shapes: Shapes) -> Findings:
    """Finds everything that is wrong with a submission; one without problems is good.

    Checked are, of a table, the columns, the exact set of keys, doubled ones, and each mask: well-formed, sorted, inside
    the image, no overlaps, not with another object of the image either, and whether decoding then encoding gives the same
    text again; of a zip, its exact members, and each picture: that it can be read, its size, mode and values.

    Args:
        path: the CSV or zip.
        competition: gives the form.
        shapes: (height, width) of every image of the test set, by its id as the sample submission spells it.

    Raises:
        SegfoldError: the file cannot be read at all.
    """
    form = form_of(competition)
    if isinstance(form, Table):
        return check_table(Path(path), form, shapes)
    return check_pictures(Path(path), form, shapes)


def submission_problems(path: Path | str, competition: Competition, shapes: Shapes) -> list[str]:
    """All in which a submission is not just as segfold writes one: ``check_submission``'s problems, then its remarks."""
    found = check_submission(path, competition, shapes)
    return found.problems + found.remarks


def image_shapes(
    competition: Competition, home: Path = Path(), say: Callable[[str], None] = lambda text: None
) -> dict[str, Shape]:
    """Height and width of each test image, by id as the sample submission spells it.

    Args:
        say: told when images are decoded.
    """
    images = load_split(competition, "test", home, say)
    if all(name.isascii() for name in images.ids):
        return shapes_by_id(images, ())
    return shapes_by_id(images, image_ids(sample_order(competition, images.ids, home)))


def shapes_by_id(images: ImageSet, sample: Iterable[str]) -> dict[str, Shape]:
    """(height, width) of each image, by its id as the sample submission spells it.

    Args:
        images: the test set.
        sample: the ids of the sample submission.
    """
    spelled = {one_form(image_id): image_id for image_id in sample}
    sizes = zip(images.ids, images.images.shapes.tolist())
    return {spelled.get(name, name): (height, width) for name, (height, width, _) in sizes}
