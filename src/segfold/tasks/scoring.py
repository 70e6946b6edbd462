"""What a metric makes of one image's mask."""

import numpy as np
import numpy.typing as npt

from segfold.metrics import CountMetric, MaskMetric, Metric, Truth
from segfold.tasks.base import Mask, Task


def truth_of(task: Task, mask: Mask, objects: npt.NDArray | None = None) -> Truth:
    """A true mask H×W as metrics that look at pixels take it.

    Args:
        objects: H×W, the number of each pixel's object, 0 of none; None where the competition has no objects.
    """
    return Truth(task.planes(mask), task.valid(mask), objects)


def features(
    task: Task, metric: Metric, pred: Mask, truth: Mask, objects: npt.NDArray | None = None
) -> npt.NDArray[np.float64]:
    """The (K,) numbers of one image that a metric adds up; masks H×W, ``objects`` as of ``truth_of``."""
    if isinstance(metric, CountMetric):
        return metric.of(task.counts(pred, truth))
    assert isinstance(metric, MaskMetric)
    return metric.of(task.planes(pred), truth_of(task, truth, objects))
