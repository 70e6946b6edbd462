"""Probabilities of images: the answers to their views put together at the original size, strip by strip."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from segfold.data.image_views import BoxSource, ImageViews
from segfold.data.images import ImageSet
from segfold.inference.accumulate import Accumulator, Planes
from segfold.inference.answers import answers
from segfold.inference.boxes import boxes_of
from segfold.inference.manner import PredictionSettings

_CHUNK = 1 << 20  # numbers that are activated at once


class Strip(NamedTuple):
    """Rows of what a network says of one image.

    Attributes:
        top: number of the first row; strips of an image come from its top to its bottom without a gap.
        planes: classes×rows×width of the image, float32 probabilities merged over the views. It changes when the next
            strip is made.
        last: whether the image ends here.
        image_logits: (T,) float32 logits of the image head, one for each entry of test-time augmentation: of the whole image,
            or the largest over tiles; with the last strip only, and None of a network without such a head.
    """

    id: str
    top: int
    planes: Planes
    last: bool
    image_logits: np.ndarray | None


class Prediction(NamedTuple):
    """What a network says of one image.

    Attributes:
        planes: classes×height×width of the original image, float32 probabilities merged over the views.
        image_logits: see ``Strip``.
    """

    id: str
    planes: np.ndarray
    image_logits: np.ndarray | None


def predict(
    network: nn.Module,
    images: ImageSet,
    rows: np.ndarray,
    manner: PredictionSettings,
    on_batch: Callable[[int], None] = lambda views: None,
    say: Callable[[str], None] = lambda text: None,
    boxes: BoxSource | None = None,
) -> Iterator[Prediction]:
    """Predictions of some images, in order, each as a whole; see ``predict_strips``."""
    held: list[np.ndarray] = []
    for strip in predict_strips(network, images, rows, manner, on_batch, say, boxes):
        held.append(strip.planes.copy())
        if strip.last:
            yield Prediction(strip.id, held[0] if len(held) == 1 else np.concatenate(held, axis=1), strip.image_logits)
            held = []


def predict_strips(
    network: nn.Module,
    images: ImageSet,
    rows: np.ndarray,
    manner: PredictionSettings,
    on_batch: Callable[[int], None] = lambda views: None,
    say: Callable[[str], None] = lambda text: None,
    boxes: BoxSource | None = None,
) -> Iterator[Strip]:
    """Predictions of some images, in order, in strips: memory follows the views and the width of images, not their height.

    Args:
        network: in eval mode, on the runtime's device.
        rows: indices into ``images``.
        on_batch: called with the number of views of each finished batch.
        say: called with a line where batches are predicted in float32 because a lower precision gives no finite numbers.
        boxes: of the images of the set, of which ``manner`` takes the best; None for their proposals, which are found first.

    Raises:
        SegfoldError: the device's memory does not hold a batch, or the network does not take or give the size of a view.
    """
    views = ImageViews(images, rows, manner.plan, boxes or boxes_of(images, rows, manner, say))
    merging = _Merging(images, views, manner)
    for keys, planes, image_logits in answers(network, images, views, manner, say):
        for number, (position, view) in enumerate(keys):
            logits = None if image_logits is None else image_logits[number]
            yield from merging.strips(position, view, planes[number], logits)
        on_batch(len(keys))


class _Merging:
    """Puts the answers to views together, image by image."""

    def __init__(self, images: ImageSet, views: ImageViews, manner: PredictionSettings) -> None:
        self._ids, self._views = images.ids[views.rows], views
        self._activated, self._manner = images.task.activated, manner
        self._next = 0  # image of which the next strip is
        self._open: dict[int, Accumulator] = {}
        self._logits: dict[int, np.ndarray] = {}

    def strips(self, position: int, number: int, answer: Planes, logits: np.ndarray | None) -> Iterator[Strip]:
        """What is finished once the answer to a view of an image is added.

        Args:
            position: of the image among those that are predicted.
            number: of the view.
            answer: C×height×width, of the size that the view's sizing gives.
            logits: (T,) of the image head, one for each symmetry of the view; None of a network without one.
        """
        shape, views = self._views.shape(position), self._views.of(position)
        view = views[number]
        whole = view.window == (0, 0, *shape)
        if len(views) == 1 and whole:  # nothing is to be added up
            assert position == self._next
            self._next += 1
            planes = self._finished(view.restored(answer))
            yield Strip(str(self._ids[position]), 0, planes, True, logits)
            return
        if position not in self._open:
            even = self._manner.boxes is None
            self._open[position] = Accumulator(views, len(answer), shape, self._manner.merge, even)
        self._open[position].add(view.restored(answer))
        if logits is not None and (whole or self._manner.boxes is None):  # in a box an object is the rule
            held = self._logits.setdefault(position, np.full(len(self._manner.tta), -np.inf, np.float32))
            entries = list(view.entries)
            held[entries] = np.maximum(held[entries], logits)
        while (head := self._open.get(self._next)) is not None:
            for top, planes in head.ready():
                last = top + planes.shape[1] == self._views.shape(self._next)[0]
                found = self._logits.pop(self._next, None) if last else None
                yield Strip(str(self._ids[self._next]), top, self._finished(planes), last, found)
            if not head.done:
                return
            del self._open[self._next]
            self._next += 1

    def _finished(self, planes: Planes) -> Planes:
        if self._manner.values == "probabilities":
            return planes
        found = np.empty_like(planes)
        step = max(1, _CHUNK // (planes.shape[0] * planes.shape[2]))
        for top in range(0, planes.shape[1], step):
            part = torch.from_numpy(np.ascontiguousarray(planes[:, top : top + step]))
            found[:, top : top + step] = self._activated(part[None])[0].numpy()
        return found
