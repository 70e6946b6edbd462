"""The slow way of ``Disputed``: whole masks, for metrics that must see the pixels or the objects of an image."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from segfold.ensemble.disputed_kernels import add_all, classes_of
from segfold.ensemble.disputed_pixels import Numbers, Pixels
from segfold.ensemble.evidence import Images
from segfold.tasks.scoring import features

Floats = npt.NDArray[np.float64]


def decided(pixels: Pixels, images: Images, row: int, weights: Numbers, bounds: Numbers) -> list[npt.NDArray[np.uint8]]:
    """What a blend makes of an image's disputed pixels, of each group: 1 and 0 of one class, else the class.

    Args:
        weights: (M,) integers.
        bounds: (C,) smallest totals that are foreground; of classes that exclude each other (65536,) of each code.
    """
    members = len(weights)
    groups = pixels.groups
    planes = len(images.task.classes) // groups
    found = []
    for index in range(groups):
        start, end = pixels.starts[row * groups + index : row * groups + index + 2]
        total = np.empty(planes * (end - start), np.int64)
        add_all(pixels.codes[members * planes * start : members * planes * end], pixels.tables, weights, total)
        if images.task.exclusive:
            classes = np.empty(end - start, np.uint8)
            classes_of(total, planes, bounds, pixels.far * int(weights.sum()), classes)
            found.append(classes)
        else:
            found.append((total >= bounds[index]).view(np.uint8))
    return found


def image_features(
    pixels: Pixels,
    images: Images,
    row: int,
    name: str,
    trials: Sequence[Numbers],
    bounds: Numbers,
) -> Floats:
    """(T, K) features of an image for T weights; what differs in no pixel is scored once.

    Args:
        trials: (M,) weights each, all of one sum.
        bounds: for that sum, see ``decided``.
    """
    task = images.task
    truth, objects = images.truth(name), images.objects_of(name)
    agreed = pixels.masks[pixels.mask_starts[row] : pixels.mask_starts[row + 1]]
    edges = pixels.starts[row * pixels.groups : (row + 1) * pixels.groups + 1]
    places = [pixels.places[start:end] for start, end in pairwise(edges)]
    known: dict[bytes, Floats] = {}
    found = []
    for weights in trials:
        each = decided(pixels, images, row, weights, bounds)
        key = b"".join(group.tobytes() for group in each)
        if key not in known:
            mask = agreed.copy()
            if task.exclusive:
                mask[places[0]] = each[0]
            else:
                for index, (there, group) in enumerate(zip(places, each)):
                    mask[there] |= (group.astype(mask.dtype) << index).astype(mask.dtype)
            known[key] = features(task, images.metric, mask.reshape(truth.shape), truth, objects)
        found.append(known[key])
    return np.array(found)
