"""Scores a submission against known masks as the host does."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form
from segfold.metrics import CountMetric, Counts, MeanScore, ObjectMetric, ScoreSums, overlap
from segfold.submission.check import check_submission
from segfold.submission.findings import some
from segfold.submission.forms import Pictures, Shapes, Table, form_of, member_name
from segfold.submission.pictures_check import Files, values_of
from segfold.submission.table_check import of_one_shape
from segfold.submission.tables import masks_of, objects_of, planes_of, texts_of
from segfold.tasks.scoring import features

Features = npt.NDArray[np.float64]


def score_submission(path: Path | str, truth_path: Path | str, competition: Competition, shapes: Shapes) -> MeanScore:
    """Scores a submission by the competition's metric.

    Args:
        path: the submission.
        truth_path: the known masks in the same form: a table with the same columns, and any others; or a zip or a folder of
            PNGs of class indices. Images besides are not looked at.
        competition: gives the form and the metric.
        shapes: (height, width) of every image that is scored, by id.

    Returns:
        The score, and its standard error over images.

    Raises:
        SegfoldError: ``check_submission`` finds problems, or the truth lacks a mask or has a bad one.
    """
    path, truth_path = Path(path), Path(truth_path)
    problems = check_submission(path, competition, shapes).problems
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise SegfoldError(f"{path} cannot be scored: {problems[0]}{more}")
    if not shapes:
        raise SegfoldError(f"{path} cannot be scored: there are no images to score")
    form, metric = form_of(competition), competition.scorer
    sums = ScoreSums()
    if isinstance(form, Pictures):
        parts = _of_pictures(path, truth_path, competition, form, shapes)
    else:
        parts = _of_tables(path, truth_path, competition, form, shapes)
    for part in parts:
        sums += ScoreSums.of(part)
    return sums.score(metric)


def _of_tables(
    path: Path, truth_path: Path, competition: Competition, table: Table, shapes: Shapes
) -> Iterator[Features]:
    """The N×K features of some images at a time."""
    sizes = {one_form(image_id): table.shape(shape) for image_id, shape in shapes.items()}
    pred, truth = (texts_of(each, table, list(sizes)) for each in (path, truth_path))
    if missing := [row for row in table.rows(sizes) if row not in truth]:
        noun = "row" if table.says_class else "id"
        names = some([", ".join(table.key(row)) for row in missing], noun)
        raise SegfoldError(f"{truth_path} lacks {names}: expected the masks of all {len(sizes)}")
    for row, texts in truth.items():
        for text in texts:
            # A table of known masks may leave an empty one blank, whatever a submission has to put there.
            if text.strip() and (fault := table.fault(text, sizes[row.image])):
                raise SegfoldError(f"{truth_path}: mask of {', '.join(table.key(row))}: {fault}")
    metric, task = competition.scorer, competition.task
    for ids, shape in of_one_shape(list(sizes), sizes):
        if isinstance(metric, ObjectMetric) and table.by_object:
            # Objects that touch are told apart by their rows, and would be one in a mask.
            pairs = ([objects_of(name, shape, table, each) for each in (pred, truth)] for name in ids)
            yield np.stack([metric.of_objects(*pair) for pair in pairs])
            continue
        found, known = planes_of(ids, shape, table, pred), planes_of(ids, shape, table, truth)
        if isinstance(metric, CountMetric) and not task.exclusive:
            yield metric.of(_counts(found, known))
            continue
        masks = zip(masks_of(found, table), masks_of(known, table))
        yield np.stack([features(task, metric, one, other) for one, other in masks])


def _counts(found: Sequence[npt.NDArray[np.uint8]], known: Sequence[npt.NDArray[np.uint8]]) -> Counts:
    """Arrays N×C of classes that do not exclude each other."""
    each = [overlap(one, other) for one, other in zip(found, known)]
    return Counts(*(np.stack(column, axis=-1) for column in zip(*each)))


def _of_pictures(
    path: Path, truth_path: Path, competition: Competition, form: Pictures, shapes: Shapes
) -> Iterator[Features]:
    """The 1×K features of one image at a time."""
    task, metric = competition.task, competition.scorer
    with Files(path) as pred, _known(truth_path) as truth:
        if missing := [image_id for image_id in shapes if one_form(member_name(image_id)) not in truth.by_form]:
            raise SegfoldError(f"{truth_path} lacks {some(missing, 'mask')}: expected the masks of all {len(shapes)}")
        for image_id, image_shape in shapes.items():
            found = task.read(values_of(pred, image_id), None, f"{path}: {image_id}")
            known = task.read(values_of(truth, image_id), competition.void, f"{truth_path}: {image_id}")
            if known.shape != (shape := form.size or image_shape):
                raise SegfoldError(
                    f"{truth_path}: mask of {image_id} is {known.shape[0]}×{known.shape[1]}, expected {shape[0]}×{shape[1]}"
                )
            yield features(task, metric, found, known)[None]


def _known(path: Path) -> Files:
    try:
        return Files(path)
    except zipfile.BadZipFile as error:
        raise SegfoldError(f"{path} is no zip ({error}): expected a zip or a folder of masks") from error
