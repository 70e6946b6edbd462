"""What a network says of views, batch by batch: symmetries undone, activated, on the CPU."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.geometry.view import View
from segfold.data.image_views import ImageViews
from segfold.data.images import ImageSet
from segfold.data.prediction_set import Key, PredictionSet
from segfold.data.workers import batches, fitting, loader, too_little_shared
from segfold.errors import SegfoldError
from segfold.inference.accumulate import Merge, Planes
from segfold.inference.manner import PredictionSettings, units
from segfold.machine import Runtime, memory_errors
from segfold.stopping import leave_signals_to_parent


class _RangeError(Exception):
    """The precision has not the range that the network needs, or a kernel of it has failed."""


class Answers(NamedTuple):
    """What a network says of the views of a batch.

    Attributes:
        keys: which views of which images, N.
        planes: N×classes×height×width float32, of the size that the views' sizing gives.
        image_logits: N×T float32, one for each symmetry; None of a network without an image head.
    """

    keys: list[Key]
    planes: Planes
    image_logits: np.ndarray | None


def probabilities(
    network: nn.Module,
    images: Tensor | Sequence[Tensor],
    tta: Sequence[str],
    runtime: Runtime,
    activated: Callable[[Tensor], Tensor] = torch.sigmoid,
    merge: Merge = "mean",
    classes: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """What a network says under the symmetries of ``tta``, each undone on its output, merged.

    Args:
        images: N×C×H×W, raw pixels, on the runtime's device; or such a batch for each of ``tta``, turned already.
        activated: of the network's logits.
        merge: over the symmetries; what is summed is their mean, for they are of the same pixels.
        classes: how many planes of the logits count, the first; None for all.

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
        logits = (found if classes is None else found.of_classes(classes)).logits.float()
        # On a GPU only float16 is looked at, for the question waits for the device.
        asked = runtime.precision == "fp16" or (runtime.precision == "bf16" and runtime.device.type == "cpu")
        # The extremes are not finite where anything is not, NaN among them, and are found in a tenth of the time.
        if asked and not bool(torch.stack(logits.aminmax()).isfinite().all()):
            raise _RangeError
        answer = transform.inverse(activated(logits))
        if merge == "max":
            total = torch.maximum(total, answer) if isinstance(total, Tensor) else answer
        else:
            total = total + answer
        if found.image is not None:
            image_logits.append(found.image.float().reshape(-1))
    merged = torch.as_tensor(total if merge == "max" else total / len(tta))
    return merged, torch.stack(image_logits, dim=1) if image_logits else None


@torch.inference_mode()
def answers(
    network: nn.Module,
    images: ImageSet,
    views: ImageViews,
    manner: PredictionSettings,
    say: Callable[[str], None],
) -> Iterator[Answers]:
    """What a network says of the views of some images, in their order. Arguments and errors as of ``predict_strips``."""
    told = False
    runtime, classes = manner.runtime, len(images.task.classes)
    activated = images.task.activated if manner.values == "probabilities" else torch.Tensor.float
    dataset = PredictionSet(images, views, channels=manner.channels)
    for batch in batches(_loader(dataset, images.images.shapes[views.rows], manner, say)):
        keys: list[Key] = list(zip(batch.position.tolist(), batch.view.tolist()))
        view = _view(views, keys[0])
        with memory_errors(runtime, f"lower predict.batch_size (now {manner.batch_size})"):
            pixels = _moved(batch.image, runtime)
            try:
                merged, logits = probabilities(
                    network, pixels, view.symmetries, runtime, activated, manner.merge, classes
                )
            except _RangeError:
                # Batch by batch, so that a prediction that was stopped goes on with the same bits.
                wide = replace(runtime, precision="fp32")
                merged, logits = probabilities(network, pixels, view.symmetries, wide, activated, manner.merge, classes)
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
        yield Answers(keys, planes, of_images)


def _view(views: ImageViews, key: Key) -> View:
    return views.of(key[0])[key[1]]


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
        batch_sampler=_Batches(dataset.views, units(manner, shapes), manner),
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        pin_memory=runtime.pinned,
        worker_init_fn=leave_signals_to_parent,
    )


class _Batches(Iterable[list[Key]]):
    """Views that are shown to the network together: of one unit, of one size and under the same symmetries."""

    def __init__(self, views: ImageViews, starts: np.ndarray, manner: PredictionSettings) -> None:
        self._views, self._starts, self._manner = views, starts, manner

    def __iter__(self) -> Iterator[list[Key]]:
        for first, end in zip(self._starts, [*self._starts[1:], len(self._views)]):
            yield from self._of_unit(int(first), int(end))

    def _of_unit(self, first: int, end: int) -> Iterator[list[Key]]:
        keys = [
            ((position, number), view.entries)
            for position in range(first, end)
            for number, view in enumerate(self._views.of(position))
        ]
        # Tiles are shown as they come, from the top to the bottom; whole images of another scale after all of one.
        ordered = keys if self._manner.tiles else sorted(keys, key=itemgetter(1))
        size = self._manner.batch_size
        for _, same in groupby(ordered, itemgetter(1)):
            alike = [key for key, _ in same]
            yield from (alike[place : place + size] for place in range(0, len(alike), size))
