"""In which images two submissions differ, and by how much."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segfold.competition import Competition
from segfold.data.images import ImageSet
from segfold.data.look import contact_sheet, shrunk
from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.layouts.table import read_table
from segfold.metrics import MeanScore, ObjectMetric, ScoreSums
from segfold.resize import Shape
from segfold.submission.check import check_submission
from segfold.submission.forms import Pictures, Shapes, form_of, member_name
from segfold.submission.pictures_check import Files, values_of
from segfold.submission.table_check import of_one_shape
from segfold.submission.tables import masks_of, objects_of, planes_of, texts_of
from segfold.tasks import Mask, Task
from segfold.tasks.scoring import features

_COLUMNS = 8
_LONGEST_NAME = 14


@dataclass(frozen=True)
class Change:
    """What became of an image's mask from one submission to another.

    Attributes:
        score: of the later mask by the competition's metric, as if the earlier one were true and the image alone.
        pixels: how many have other classes.
        before: pixels of each class that has rows, in the earlier mask.
        after: the same in the later one.
    """

    image: str
    score: float
    pixels: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def most(self) -> int:
        """Place of the class whose area changed most."""
        return int(np.argmax(np.abs(np.subtract(self.after, self.before))))


@dataclass(frozen=True)
class Difference:
    """Between two submissions.

    Attributes:
        score: of the later submission as if the earlier one were true.
        changes: of the images whose masks differ, those that score least first, of them those of which most pixels changed.
    """

    score: MeanScore
    changes: list[Change]


class _Pair(NamedTuple):
    """The masks H×W of an image in two submissions; the features of the later as if the earlier were true."""

    image: str
    before: Mask
    after: Mask
    features: npt.NDArray[np.float64]


def find_difference(before: Path | str, after: Path | str, competition: Competition, shapes: Shapes) -> Difference:
    """Compares two submissions of a competition image by image.

    Args:
        before: the earlier submission, a table or a zip of PNGs as the competition wants it, or a folder of PNGs.
        after: the later one.
        shapes: (height, width) of every image of the test set, by id as the sample submission spells it.

    Raises:
        SegfoldError: ``check_submission`` finds problems, or there are no images.
    """
    before, after = Path(before), Path(after)
    for path in (before, after):
        if problems := check_submission(path, competition, shapes).problems:
            more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
            raise SegfoldError(f"{path} cannot be compared: {problems[0]}{more}")
    if not shapes:
        raise SegfoldError(f"{before} and {after} cannot be compared: there are no images")
    task, metric = competition.task, competition.scorer
    sums, changes = ScoreSums(), []
    for pair in _pairs(before, after, competition, shapes):
        sums += ScoreSums.of(pair.features[None])
        pixels = int(np.count_nonzero(pair.before != pair.after))
        score = float(metric.value(pair.features, 1))
        # Objects that touch may be told apart in another way though no pixel changes.
        if pixels or (isinstance(metric, ObjectMetric) and score < 1):
            areas = (tuple(task.areas(mask)[list(task.rows)].tolist()) for mask in (pair.before, pair.after))
            changes.append(Change(pair.image, score, pixels, *areas))
    changes.sort(key=lambda change: (change.score, -change.pixels, change.image))
    return Difference(sums.score(metric), changes)


def _pairs(before: Path, after: Path, competition: Competition, shapes: Shapes) -> Iterator[_Pair]:
    form, task, metric = form_of(competition), competition.task, competition.scorer
    if isinstance(form, Pictures):
        with Files(before) as old, Files(after) as new:
            for image in shapes:
                one, other = (task.read(values_of(each, image), None, f"{each.path}: {image}") for each in (old, new))
                yield _Pair(image, one, other, features(task, metric, other, one))
        return
    spelled = {one_form(image): image for image in shapes}
    sizes = {one_form(image): form.shape(shape) for image, shape in shapes.items()}
    texts = [texts_of(path, form, list(sizes)) for path in (before, after)]
    for names, shape in of_one_shape(list(sizes), sizes):
        old_masks, new_masks = (masks_of(planes_of(names, shape, form, each), form) for each in texts)
        for name, one, other in zip(names, old_masks, new_masks):
            if isinstance(metric, ObjectMetric) and form.by_object:
                old_objects, new_objects = (objects_of(name, shape, form, each) for each in texts)
                found = metric.of_objects(new_objects, old_objects)
            else:
                found = features(task, metric, other, one)
            yield _Pair(spelled[name], one, other, np.asarray(found, np.float64))


def stated_shapes(path: Path | str, competition: Competition) -> dict[str, Shape]:
    """Height and width of the masks in a submission, by image, as far as it says them itself, for want of the test images.

    Raises:
        SegfoldError: it does not: a table of masks that are as large as their images; or it cannot be read.
    """
    form, path = form_of(competition), Path(path)
    if isinstance(form, Pictures):
        ending = member_name("")
        with Files(path) as files:
            names = [name.removesuffix(ending) for name in files.names if name.endswith(ending)]
            return {name: _shape_of(values_of(files, name)) for name in names}
    if form.form.size is None:
        raise SegfoldError(
            f"{path} does not say how large its masks are: import the test images of {competition.name} with `make data`"
        )
    lines = read_table(path, form.key_columns, spelled=True, unique=0)
    keys = (form.parsed(key) for key in lines.itertuples(index=False, name=None))
    return {key[0]: form.form.size for key in keys if key is not None}


def _shape_of(values: npt.NDArray) -> Shape:
    return int(values.shape[0]), int(values.shape[1])


def read_masks(path: Path | str, images: Sequence[str], competition: Competition, shapes: Shapes) -> list[Mask]:
    """Masks H×W of some images, read from a submission without problems, at the size that it has them in."""
    form, task, path = form_of(competition), competition.task, Path(path)
    if isinstance(form, Pictures):
        with Files(path) as files:
            return [task.read(values_of(files, image), None, f"{path}: {image}") for image in images]
    names = [one_form(image) for image in images]
    texts = texts_of(path, form, names)
    each = (planes_of([name], form.shape(shapes[image]), form, texts) for name, image in zip(names, images))
    return [next(iter(masks_of(planes, form))) for planes in each]


def draw_difference(
    changes: Sequence[Change],
    before: Path | str,
    after: Path | str,
    competition: Competition,
    shapes: Shapes,
    test: ImageSet | None,
) -> npt.NDArray[np.uint8]:
    """A sheet of the images of some changes, one at least, each with its earlier and, beside it, its later mask.

    Args:
        test: the images to draw on; None for grey ones.

    Returns:
        H×W×3 uint8 RGB.
    """
    names, task = [change.image for change in changes], competition.task
    pictures, planes, titles = [], [], []
    masks = [read_masks(path, names, competition, shapes) for path in (before, after)]
    for change, *pair in zip(changes, *masks):
        name = change.image if len(change.image) <= _LONGEST_NAME else f"…{change.image[-_LONGEST_NAME:]}"
        place = change.most
        areas = f"{change.before[place]:,}", f"{change.after[place]:,}"
        label = f"{task.classes[task.rows[place]]} " if len(task.rows) > 1 else ""
        picture = None if test is None else shrunk(test.images.reader(int(test.position([one_form(change.image)])[0])))
        for mask, title in zip(pair, (f"{change.score:.2f} {name} {label}{areas[0]}", f"{label}{areas[1]}")):
            if picture is None:
                small = shrunk(mask)
                pictures.append(np.full((*small.shape, 1), 128, np.uint8))
            else:
                small = _fitted(mask, (picture.shape[0], picture.shape[1]), task)
                pictures.append(picture)
            planes.append(task.planes(small)[list(task.rows)])
            titles.append(title)
    return contact_sheet(pictures, planes, titles=titles, columns=_COLUMNS)


def _fitted(mask: Mask, shape: Shape, task: Task) -> Mask:
    return mask if mask.shape == shape else task.resized(mask, shape)
