"""The test images of submitted ensembles on which their networks disagree most, with what each of them says."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segfold.board.kept import Kept, key_of
from segfold.board.masks import pack, step_of
from segfold.board.pictures import write_pictures
from segfold.board.script import write_script
from segfold.board.sets import one_or_all, plain_facts, set_name
from segfold.board.submissions import known_submissions
from segfold.board.submitted import Predictions, newest_ensembles, open_predictions
from segfold.board.submitted_masks import read_submitted, what_is_wrong
from segfold.board.votes import disagreement
from segfold.competition import Competition, data_folder
from segfold.data.images import ImageSet, load_split
from segfold.ensemble.blend import TestMember, blend
from segfold.errors import SegfoldError
from segfold.files import write_atomic
from segfold.observer import SILENT, Observer
from segfold.store import HALF
from segfold.tasks import Mask, Task

MOST = 500
"""Images that are shown."""

_RUNS = 1 << 22  # of all masks together; where masks have more the least disputed images have none


def write_disputed(
    kept: Kept, files: Path, home: Path, competition: Competition, observer: Observer = SILENT
) -> str | None:
    """Writes the script of the disputed images, their thumbnails and pictures, where they are not there yet.

    Of the newest ensembles (``segfold.board.submitted``) all networks vote, see ``segfold.board.votes``. The masks are those
    of each submission's file, and of each member alone: the mean over its folds, at one half. Predictions that are gone, or
    were made anew since they were submitted, are left out, and the script says which. Without the test images there are
    masks alone.

    Args:
        files: the board's folder, ``board-files``.
        observer: told of test images or predictions that cannot be read.

    Returns:
        The name of the script; None where no ensemble was submitted.

    Raises:
        SegfoldError: the disk is full.
    """
    ensembles = newest_ensembles(known_submissions(home), competition.name, home)
    if not ensembles:
        return None
    name, predictions = set_name(competition, "disputed"), open_predictions(ensembles, competition)
    left_out = list(predictions.left_out)
    try:
        rows, scores = _most_disputed(kept, files, name, competition, predictions)
    except (SegfoldError, OSError) as error:  # they have gone away while they were read
        predictions, rows, scores = Predictions(), np.zeros(0, np.int64), np.zeros(0)
        left_out.append(str(error))
    test = _test_images(home, competition, predictions, left_out, observer)
    try:
        shown = _facts(kept, files, name, predictions, rows, test)
    except SegfoldError as error:  # an image that is read where it lies has gone, say
        left_out.append(f"the pictures: {error}")
        shown = _facts(kept, files, name, predictions, rows, None)
    record: dict[str, Any] = {
        "competition": competition.name,
        **shown,
        "disagreement": scores.round(6).tolist(),
        "networks": len(predictions.stores),
    }
    sources = []
    for each in ensembles:
        if (wrong := what_is_wrong(home / each.file, each.sha256)) is None:
            sources.append(each)
        else:
            left_out.append(f"{each.file}: {wrong}")
    about = competition.model_dump(mode="json", by_alias=True)
    key = key_of(
        about, record, predictions.keys, list(predictions.members), [each.sha256 for each in sources], left_out
    )

    def masks() -> Iterator[dict[str, Any]]:
        """Of each submission and member, of as many images as there is room for."""
        ids, task = record["ids"], competition.task
        shapes = [] if not len(rows) else [tuple(each) for each in predictions.stores[0].shapes[rows, 1:].tolist()]
        room = _RUNS // max(len(sources) + len(predictions.members), 1)
        found: list[tuple[str, str, Iterable[Mask | None]]] = [
            (Path(each.file).name, "submission", read_submitted(home / each.file, competition, ids, shapes))
            for each in sources
        ]
        found += [(label, "run", _decided(member, ids, task)) for label, member in predictions.members.items()]
        for label, kind, its in found:
            try:
                yield {"name": label, "kind": kind, **_packed(its, task, room)}
            except (SegfoldError, OSError) as error:
                left_out.append(f"{label}: {error}")

    def write(path: Path) -> None:
        drawn = list(masks()) if record["ids"] else []
        write_script(path, name, {**record, "masks": drawn, "left_out": left_out})

    kept.build(f"{name}.js", key, write)
    return name


def _most_disputed(
    kept: Kept, files: Path, name: str, competition: Competition, predictions: Predictions
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Rows of the first store, the most disputed images first, and how far they are; of like ones those with earlier ids."""
    stores, task = predictions.stores, competition.task
    if not stores:
        return np.zeros(0, np.int64), np.zeros(0)
    path = f"{name}-scores.npy"

    def write(path: Path) -> None:
        found = disagreement(stores, task)
        with write_atomic(path) as file:
            np.save(file, found)

    kept.build(path, key_of(predictions.keys, len(task.classes), task.exclusive), write)
    scores = np.load(files / path)
    rows = np.lexsort([stores[0].ids.astype(str), -scores])[:MOST]
    return rows, scores[rows]


def _test_images(
    home: Path, competition: Competition, predictions: Predictions, left_out: list[str], observer: Observer
) -> ImageSet | None:
    """The images that were predicted; None where they are not there."""
    if not predictions.stores:
        return None
    try:
        if not data_folder(competition, home).is_dir():
            return None
        test = load_split(competition, "test", home, observer.say)
    except (SegfoldError, OSError) as error:
        observer.say(f"{competition.name}: masks without test images ({error})")
        return None
    if test.fingerprint != predictions.data:
        left_out.append("the pictures: data holds other test images now than were submitted")
        return None
    return test


def _facts(
    kept: Kept, files: Path, name: str, predictions: Predictions, rows: npt.NDArray[np.int64], test: ImageSet | None
) -> dict[str, Any]:
    """What the script says of the images by themselves; their pictures are written."""
    ids = [] if not len(rows) else [str(image) for image in predictions.stores[0].ids[rows]]
    if test is not None:
        places = test.position(ids)
        return {**plain_facts(test, places), **write_pictures(kept, files, name, test, places, name)}
    shapes = predictions.stores[0].shapes[rows] if ids else np.zeros((0, 3), np.int64)
    sizes = {"height": one_or_all(shapes[:, 1]), "width": one_or_all(shapes[:, 2])}
    return {"ids": ids, **sizes, "tables": {}, "thumbs": None, "pictures": None}


def _decided(member: TestMember, ids: Sequence[str], task: Task) -> Iterator[Mask]:
    """Masks of a member alone."""
    return (task.decided(blended.codes, task.plain(HALF)) for blended in blend([member], None, ids))


def _packed(masks: Iterable[Mask | None], task: Task, room: int) -> dict[str, Any]:
    """Masks until there are so many runs, at least one; ``images`` are their places."""
    images: list[int] = []

    def taken() -> Iterator[Mask]:
        runs = 0
        for place, mask in enumerate(masks):
            if mask is None:
                continue
            runs += _run_count(mask)
            if runs > room and images:
                return
            images.append(place)
            yield mask

    packed = pack(taken(), task)
    return {"images": images, "masks": packed}


def _run_count(mask: Mask) -> int:
    step = step_of(*mask.shape)
    flat = mask[::step, ::step].reshape(-1)
    return 1 + int(np.count_nonzero(flat[1:] != flat[:-1]))
