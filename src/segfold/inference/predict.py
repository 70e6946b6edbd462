"""Probabilities of images: views, network, symmetries undone, activation, back to the original size, strip by strip."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.geometry.view import Tiling, View, ViewPlan
from segfold.data.images import ImageSet
from segfold.data.prediction_set import Key, PredictionSet
from segfold.data.workers import batches, fitting, loader, too_little_shared
from segfold.errors import SegfoldError
from segfold.inference.accumulate import Accumulator, Merge, Planes
from segfold.machine import Runtime, memory_errors
from segfold.settings import Experiment
from segfold.settings.views import views_of
from segfold.stopping import leave_signals_to_parent

Values = Literal["probabilities", "logits"]
"""What is merged where several views have an answer."""

USUAL_BATCH, USUAL_PIXELS = 64, 64 * 128 * 128
_CHUNK = 1 << 20  # numbers that are activated at once


class _RangeError(Exception):
    """The precision has not the range that the network needs, or a kernel of it has failed."""


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted.

    Attributes:
        sizing: to the network's input and back, of the whole image or of a tile.
        tta: entries of test-time augmentation.
        channels: of the network's input.
        tiles: None for whole images.
    """

    sizing: Sizing
    runtime: Runtime
    tta: tuple[str, ...] = ("identity",)
    batch_size: int = USUAL_BATCH
    channels: tuple[str, ...] = ("image",)
    tiles: Tiling | None = None
    values: Values = "probabilities"
    merge: Merge = "mean"

    @classmethod
    def of(cls, experiment: Experiment, runtime: Runtime) -> "PredictionSettings":
        """That of an experiment's settings."""
        plan, settings = views_of(experiment), experiment.predict
        # Of tiles, as many as have the pixels of a usual batch.
        usual = USUAL_BATCH if plan.tiles is None else USUAL_PIXELS // (plan.sizing.height * plan.sizing.width)
        return cls(
            plan.sizing,
            runtime,
            plan.tta,
            settings.batch_size or max(1, usual),
            experiment.input.channels,
            plan.tiles,
            settings.values,
            settings.merge,
        )

    @property
    def plan(self) -> ViewPlan:
        """The views of images."""
        return ViewPlan(self.sizing, self.tta, self.tiles)


class Strip(NamedTuple):
    """Rows of what a network says of one image.

    Attributes:
        top: number of the first row; strips of an image come from its top to its bottom without a gap.
        planes: classes×rows×width of the image, float32 probabilities merged over the views. It changes when the next
            strip is made.
        last: whether the image ends here.
        image_logits: (T,) float32 logits of the image head, one for each entry of test-time augmentation, the largest over
            tiles; with the last strip only, and None of a network without such a head.
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


def probabilities(
    network: nn.Module,
    images: Tensor | Sequence[Tensor],
    tta: Sequence[str],
    runtime: Runtime,
    activated: Callable[[Tensor], Tensor] = torch.sigmoid,
    merge: Merge = "mean",
) -> tuple[Tensor, Tensor | None]:
    """What a network says under the symmetries of ``tta``, each undone on its output, merged.

    Args:
        images: N×C×H×W, raw pixels, on the runtime's device; or such a batch for each of ``tta``, turned already.
        activated: of the network's logits.

    Returns:
        N×classes×H×W float32 and the N×T image-level logits of a network that gives them.
    """
    total: Tensor | float = 0.0
    image_logits = []
    for number, name in enumerate(tta):
        transform = TRANSFORMS[name]
        seen = transform.forward(images) if isinstance(images, Tensor) else images[number]
        with runtime.autocast():
            found = network(seen.contiguous(memory_format=torch.channels_last))
        logits = found.logits.float()
        # On a GPU only float16 is looked at, for the question waits for the device.
        asked = runtime.precision == "fp16" or (runtime.precision == "bf16" and runtime.device.type == "cpu")
        if asked and not bool(logits.isfinite().all()):
            raise _RangeError
        answer = transform.inverse(activated(logits))
        if merge == "mean":
            total = total + answer
        else:
            total = torch.maximum(total, answer) if isinstance(total, Tensor) else answer
        if found.image is not None:
            image_logits.append(found.image.float().reshape(-1))
    merged = torch.as_tensor(total / len(tta) if merge == "mean" else total)
    return merged, torch.stack(image_logits, dim=1) if image_logits else None


def units(manner: PredictionSettings, shapes: np.ndarray) -> np.ndarray:
    """First images of units: images whose views share batches, so that their last bits do not depend on other units.

    Args:
        shapes: N×2 or more, height and width first, of images in the order of their prediction.

    Returns:
        Increasing positions, from 0 on: the first image of each unit.
    """
    starts, held, plan = [0], 0, manner.plan
    for position, (height, width) in enumerate(shapes[:, :2].tolist()):
        if held >= manner.batch_size:
            starts.append(position)
            held = 0
        held += plan.load((height, width))
    return np.array(starts, np.int64)


def view_counts(manner: PredictionSettings, shapes: np.ndarray) -> np.ndarray:
    """(N,) how many views each image has; ``shapes`` as of ``units``."""
    return np.array([len(manner.plan.views((height, width))) for height, width in shapes[:, :2].tolist()], np.int64)


def predict(
    network: nn.Module,
    images: ImageSet,
    rows: np.ndarray,
    manner: PredictionSettings,
    on_batch: Callable[[int], None] = lambda views: None,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Prediction]:
    """Predictions of some images, in order, each as a whole; see ``predict_strips``."""
    held: list[np.ndarray] = []
    for strip in predict_strips(network, images, rows, manner, on_batch, say):
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
) -> Iterator[Strip]:
    """Predictions of some images, in order, in strips: memory follows the views and the width of images, not their height.

    Args:
        network: in eval mode, on the runtime's device.
        rows: indices into ``images``.
        on_batch: called with the number of views of each finished batch.
        say: called with a line where batches are predicted in float32 because a lower precision gives no finite numbers.

    Raises:
        SegfoldError: the device's memory does not hold a batch, or the network does not take or give the size of a view.
    """
    merging = _Merging(images, rows, manner)
    for batch, answers, image_logits in _answers(network, images, rows, manner, say):
        for number, (position, view) in enumerate(batch):
            logits = None if image_logits is None else image_logits[number]
            yield from merging.strips(position, view, answers[number], logits)
        on_batch(len(batch))


class _Merging:
    """Puts the answers to views together, image by image."""

    def __init__(self, images: ImageSet, rows: np.ndarray, manner: PredictionSettings) -> None:
        self._ids = images.ids[rows]
        self._shapes = images.images.shapes[rows, :2].tolist()
        self._activated, self._manner, self._plan = images.task.activated, manner, manner.plan
        self._next = 0  # image of which the next strip is
        self._open: dict[int, Accumulator] = {}
        self._logits: dict[int, np.ndarray] = {}

    def strips(self, position: int, number: int, answer: Planes, logits: np.ndarray | None) -> Iterator[Strip]:
        """What is finished once the answer to a view of an image, N×C×height×width, is added."""
        height, width = self._shapes[position]
        views = self._plan.views((height, width))
        view = views[number]
        if position not in self._open:
            self._open[position] = Accumulator(views, len(answer), (height, width), self._manner.merge)
        self._open[position].add(view.restored(answer))
        if logits is not None:
            held = self._logits.setdefault(position, np.full(len(self._plan.tta), -np.inf, np.float32))
            entries = list(view.entries)
            held[entries] = np.maximum(held[entries], logits)
        while (head := self._open.get(self._next)) is not None:
            for top, planes in head.ready():
                last = top + planes.shape[1] == self._shapes[self._next][0]
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


_Answer = tuple[list[Key], Planes, np.ndarray | None]


@torch.inference_mode()
def _answers(
    network: nn.Module,
    images: ImageSet,
    rows: np.ndarray,
    manner: PredictionSettings,
    say: Callable[[str], None],
) -> Iterator[_Answer]:
    """Batch by batch: which views of which images, N×C×height×width of what the network says of them, image-level logits."""
    told = False
    runtime, plan = manner.runtime, manner.plan
    activated = images.task.activated if manner.values == "probabilities" else torch.Tensor.float
    dataset = PredictionSet(images, rows, plan, channels=manner.channels)
    for batch in batches(_loader(dataset, images.images.shapes[rows], manner, say)):
        keys: list[Key] = list(zip(batch.position.tolist(), batch.view.tolist()))
        view = _view(plan, dataset, keys[0])
        with memory_errors(runtime, f"lower predict.batch_size (now {manner.batch_size})"):
            pixels = _moved(batch.image, runtime)
            try:
                merged, logits = probabilities(network, pixels, view.symmetries, runtime, activated, manner.merge)
            except _RangeError:
                # Batch by batch, so that a prediction that was stopped goes on with the same bits.
                wide = replace(runtime, precision="fp32")
                merged, logits = probabilities(network, pixels, view.symmetries, wide, activated, manner.merge)
                if not told:
                    say(f"{runtime.precision} gives numbers that are not finite; predicting in float32 where it does")
                    told = True
            planes = merged.cpu().numpy()
            of_images = None if logits is None else logits.cpu().numpy()
        if planes.shape[-2:] != view.sizing.given:
            raise SegfoldError(
                f"the network gives {planes.shape[-2]}×{planes.shape[-1]} for an input of {view.frame[0]}×{view.frame[1]}: "
                f"expected {view.sizing.given[0]}×{view.sizing.given[1]}, as its model has a margin of {view.sizing.margin}"
            )
        yield keys, planes, of_images


def _view(plan: ViewPlan, dataset: PredictionSet, key: Key) -> View:
    return plan.views(dataset.shape(key[0]))[key[1]]


def _moved(images: Tensor | Sequence[Tensor], runtime: Runtime) -> Tensor | list[Tensor]:
    if isinstance(images, Tensor):
        return images.to(runtime.device, non_blocking=True)
    return [each.to(runtime.device, non_blocking=True) for each in images]


def _loader(
    dataset: PredictionSet, shapes: np.ndarray, manner: PredictionSettings, say: Callable[[str], None]
) -> "torch.utils.data.DataLoader":
    runtime = manner.runtime
    wanted = 0 if runtime.device.type == "cpu" else min(runtime.workers, 4)
    size = dataset.sample_bytes * manner.batch_size
    workers, ahead = fitting(wanted, size, 2)
    if workers < wanted:
        say(too_little_shared(size))
    return loader(
        dataset,
        batch_sampler=_batches(dataset, units(manner, shapes), manner),
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        pin_memory=runtime.pinned,
        worker_init_fn=leave_signals_to_parent,
    )


def _batches(dataset: PredictionSet, starts: np.ndarray, manner: PredictionSettings) -> list[list[Key]]:
    """Views that are shown to the network together: of one unit, of one size and under the same symmetries."""
    found: list[list[Key]] = []
    for first, end in zip(starts, [*starts[1:], len(dataset)]):
        keys = [
            (position, number)
            for position in range(first, end)
            for number in range(len(manner.plan.views(dataset.shape(position))))
        ]

        def kind(key: Key) -> tuple[int, ...]:
            return _view(manner.plan, dataset, key).entries

        # Tiles are shown as they come, from the top to the bottom; whole images of another scale after all of one.
        ordered = keys if manner.tiles else sorted(keys, key=kind)
        for _, same in groupby(ordered, kind):
            alike = list(same)
            found += [alike[place : place + manner.batch_size] for place in range(0, len(alike), manner.batch_size)]
    return found
