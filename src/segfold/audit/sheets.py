"""Pictures of what an audit found."""

import numpy as np
import numpy.typing as npt

from segfold.audit.alike import FLIPS
from segfold.audit.labels import extremes
from segfold.audit.whole import Audit, mirrored
from segfold.data.look import contact_sheet, shrunk
from segfold.store.codes import HALF

SHOWN = 24
"""Pairs, or labels, of a sheet."""
_COLUMNS = 8
_LONGEST_NAME = 14


def shift_sheet(found: Audit) -> npt.NDArray[np.uint8] | None:
    """Training images that look least like test images, then test images that look least like training images."""
    if found.shift is None:
        return None
    count = len(found.train)
    probability = found.shift.probability
    train = np.argsort(probability[:count], kind="stable")[:SHOWN]
    test = count + np.argsort(-probability[count:], kind="stable")[:SHOWN]
    images = [*train.tolist(), *test.tolist()]
    titles = [f"{found.split(image)} p {probability[image]:.2f} {_short(found.ids[image])}" for image in images]
    pictures = [_picture(found, image) for image in images]
    empty = [np.zeros(picture.shape[:2], np.uint8) for picture in pictures]
    return contact_sheet(pictures, empty, titles=titles, columns=_COLUMNS)


def alike_sheet(found: Audit) -> npt.NDArray[np.uint8] | None:
    """Pairs side by side, a pair a group: of two folds or splits where there is one; the most alike first."""
    alike = found.alike
    pairs: dict[int, tuple[float, int, int, int]] = {}
    for each in (*alike.across, alike.nearest):
        best: dict[int, tuple[float, int, int, int]] = {}
        for image in np.argsort(-each.correlation, kind="stable").tolist():
            if each.image[image] >= 0:
                pair = float(each.correlation[image]), image, int(each.image[image]), int(each.flip[image])
                best.setdefault(int(alike.group[image]), pair)
        pairs = {**best, **pairs}
    shown = sorted(pairs.values(), key=lambda pair: (-pair[0], pair[1]))[:SHOWN]
    pictures, planes, titles = [], [], []
    for correlation, image, other, flip in shown:
        for member, way, text in ((image, 0, f"r {correlation:.3f}"), (other, flip, FLIPS[flip])):
            picture = _picture(found, member)
            pictures.append(np.ascontiguousarray(mirrored(picture, way)))
            planes.append(np.stack([mirrored(plane, way) for plane in _planes(found, member, picture.shape)]))
            place = f"fold {found.fold(member)}" if found.fold(member).isdigit() else found.split(member)
            titles.append(f"{place} {_short(found.ids[member])} {text}")
    return contact_sheet(pictures, planes, titles=titles, columns=_COLUMNS) if pictures else None


def labels_sheet(found: Audit) -> npt.NDArray[np.uint8] | None:
    """The most suspicious labels: the image, and beside it its mask tinted, and what all runs have outlined in yellow."""
    position = dict(zip(found.train.ids, range(len(found.train))))
    task, masks = found.train.task, found.train.masks
    assert masks is not None
    pictures, planes, outlines, titles = [], [], [], []
    for each in found.suspicions[:SHOWN]:
        row = position[each.image]
        picture, plane = _picture(found, row), task.planes(shrunk(masks[row]))[each.label]
        least, _ = extremes(found.members, each.image)
        nothing = np.zeros_like(plane)
        pictures += [picture, picture]
        planes += [nothing, plane]
        outlines += [nothing, shrunk(least[each.label] >= HALF)]
        name = f"{task.classes[each.label]}: " if len(task.classes) > 1 else ""
        titles += [f"{each.suspicion:.2f} {_short(each.image)}", f"{name}{each.mask} px, runs {each.all_runs}"]
    return contact_sheet(pictures, planes, outlines=outlines, titles=titles, columns=_COLUMNS) if pictures else None


def _picture(found: Audit, image: int) -> np.ndarray:
    images, row = found.pixels(image)
    return shrunk(images.images.reader(row))


def _planes(found: Audit, image: int, shape: tuple[int, ...]) -> np.ndarray:
    """Of the classes that are objects; none of a test image."""
    images, row = found.pixels(image)
    rows = list(images.task.rows)
    if images.masks is None:
        return np.zeros((len(rows), *shape[:2]), bool)
    return images.task.planes(shrunk(images.masks[row]))[rows]


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) <= _LONGEST_NAME else f"…{text[-_LONGEST_NAME:]}"
