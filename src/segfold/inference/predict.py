"""Probabilities of images: network, test-time augmentation, activation, back to the original size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segfold.data.dataset import PredictionSet
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.images import ImageSet
from segfold.data.workers import batches, fitting, loader, too_little_shared
from segfold.inference.networks import sizing_of
from segfold.machine import Runtime, memory_errors
from segfold.settings import Experiment
from segfold.stopping import leave_signals_to_parent


class _RangeError(Exception):
    """The precision has not the range that the network needs, or a kernel of it has failed."""


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted.

    Attributes:
        sizing: to the network's input and back.
        tta: names in ``TRANSFORMS``.
        channels: of the network's input.
    """

    sizing: Sizing
    runtime: Runtime
    tta: tuple[str, ...] = ("identity",)
    batch_size: int = 64
    channels: tuple[str, ...] = ("image",)

    @classmethod
    def of(cls, experiment: Experiment, runtime: Runtime) -> "PredictionSettings":
        """That of an experiment's settings."""
        settings = experiment.predict
        channels = experiment.input.channels
        return cls(sizing_of(experiment), runtime, settings.tta, settings.batch_size, channels)


class Prediction(NamedTuple):
    """What a network says of one image.

    Attributes:
        planes: classes×height×width of the original image, float32 probabilities: the mean over the transforms.
        image_logits: (T,) float32 logits of the image head, one for each transform; None of a network without one.
    """

    id: str
    planes: np.ndarray
    image_logits: np.ndarray | None


def probabilities(
    network: nn.Module,
    images: Tensor,
    tta: Sequence[str],
    runtime: Runtime,
    activated: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> tuple[Tensor, Tensor | None]:
    """Mean probability over the transforms of ``tta``, each undone on the network's output.

    Args:
        images: N×C×H×W, raw pixels, on the runtime's device; or N×T×C×H×W, already transformed by each of ``tta``.
        activated: from logits to probabilities.

    Returns:
        N×classes×H×W float32 in 0…1, and the N×T image-level logits of a network that gives them.
    """
    total: Tensor | float = 0.0
    image_logits = []
    for number, name in enumerate(tta):
        transform = TRANSFORMS[name]
        seen = images[:, number] if images.ndim == 5 else transform.forward(images)
        with runtime.autocast():
            found = network(seen.contiguous(memory_format=torch.channels_last))
        logits = found.logits.float()
        # On a GPU only float16 is looked at, for the question waits for the device.
        asked = runtime.precision == "fp16" or (runtime.precision == "bf16" and runtime.device.type == "cpu")
        if asked and not bool(logits.isfinite().all()):
            raise _RangeError
        total = total + transform.inverse(activated(logits))
        if found.image is not None:
            image_logits.append(found.image.float().reshape(-1))
    mean = torch.as_tensor(total / len(tta))
    return mean, torch.stack(image_logits, dim=1) if image_logits else None


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: ImageSet,
    rows: np.ndarray,
    manner: PredictionSettings,
    on_batch: Callable[[int], None] = lambda samples: None,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Prediction]:
    """Predictions of some images, in order.

    Args:
        network: in eval mode, on the runtime's device.
        rows: indices into ``images``.
        on_batch: called with the number of images of each finished batch.
        say: called with a line where batches are predicted in float32 because a lower precision gives no finite numbers.

    Raises:
        SegfoldError: the device's memory does not hold a batch.
    """
    told = False
    runtime, activated = manner.runtime, images.task.activated
    dataset = PredictionSet(images, rows, manner.sizing, channels=manner.channels, tta=manner.tta)
    wanted = 0 if runtime.device.type == "cpu" else min(runtime.workers, 4)
    size = dataset.sample_bytes * manner.batch_size
    workers, ahead = fitting(wanted, size, 2)
    if workers < wanted:
        say(too_little_shared(size))
    loading = loader(
        dataset,
        batch_size=manner.batch_size,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        pin_memory=runtime.pinned,
        worker_init_fn=leave_signals_to_parent,
    )
    for batch in batches(loading):
        with memory_errors(runtime, f"lower predict.batch_size (now {manner.batch_size})"):
            pixels = batch["image"].to(runtime.device, non_blocking=True)
            try:
                mean, logits = probabilities(network, pixels, manner.tta, runtime, activated)
            except _RangeError:
                # Batch by batch, so that a prediction that was stopped goes on with the same bits.
                wide = replace(runtime, precision="fp32")
                mean, logits = probabilities(network, pixels, manner.tta, wide, activated)
                if not told:
                    say(f"{runtime.precision} gives numbers that are not finite; predicting in float32 where it does")
                    told = True
            planes = mean.cpu().numpy()
            of_images = None if logits is None else logits.cpu().numpy()
        for number, row in enumerate(batch["row"].tolist()):
            height, width = images.images.shapes[row][:2]
            restored = manner.sizing.restore(planes[number], (int(height), int(width)))
            yield Prediction(str(images.ids[row]), restored, None if of_images is None else of_images[number])
        on_batch(len(planes))
