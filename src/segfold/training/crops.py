"""From settings to the windows that a stage trains on, and what there is to say of them."""

from collections.abc import Sequence

import numpy as np

from segfold.data.crops import Crops
from segfold.data.geometry.view import around_of
from segfold.errors import SegfoldError, shown
from segfold.settings import Experiment, Stage
from segfold.settings.views import crop_of, sizing_of
from segfold.tasks import Task


def crops_of(experiment: Experiment, stage: Stage, task: Task) -> Crops | None:
    """The windows that a stage trains on, still without ``places``; None where it trains on whole images.

    Raises:
        SegfoldError: a class that is looked for is none of the task's, or is its background.
    """
    shape = crop_of(experiment, stage)
    if shape is None:
        return None
    sample = stage.sample or experiment.sample
    return Crops(
        shape,
        around=around_of(sizing_of(experiment, stage), shape),
        focus=sample.focus,
        classes=_indices(sample.focus_on, task) if sample.focus > 0 else (),
    )


def _indices(names: Sequence[str], task: Task) -> tuple[int, ...]:
    known = [task.classes[index] for index in task.rows]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SegfoldError(f"sample.focus_on names {shown(unknown[0])}; expected classes of {', '.join(known)}")
    return tuple(index for index in task.rows if not names or task.classes[index] in names)


def smaller_than(crops: Crops, shapes: np.ndarray, border: str, counts: bool) -> str:
    """What to say where images are smaller than the windows; nothing where none is.

    Args:
        shapes: N×2 or more, height and width first.
        border: rule by which they are padded.
        counts: whether the loss looks at the padding.
    """
    height, width = crops.given
    small = shapes[(shapes[:, 0] < height) | (shapes[:, 1] < width), :2]
    if not len(small):
        return ""
    least = small[small.prod(axis=1).argmin()]
    return (
        f"{len(small)} of {len(shapes)} training images are smaller than a crop of {height}×{width}, the smallest "
        f"{least[0]}×{least[1]}: they are padded (input.border {border}), which {'counts as well' if counts else 'does not count'}"
    )
