"""Probabilities of images: network, test-time augmentation, activation, back to the original size."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from segfold.data.dataset import PredictionSet
from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.symmetry import TRANSFORMS
from segfold.data.images import ImageSet
from segfold.data.workers import batches, fitting, loader, too_little_shared
from segfold.errors import SegfoldError
from segfold.machine import Runtime, memory_errors
from segfold.stopping import leave_signals_to_parent


class _RangeError(Exception):
    """The precision has not the range that the network needs, or a kernel of it has failed."""


def probabilities(
    network: nn.Module, images: Tensor, tta: Sequence[str], runtime: Runtime, gate: float = 0.0
) -> Tensor:
    """Mean probability over the transforms of ``tta``, each undone on the network's output.

    Args:
        images: N×C×H×W, raw pixels, on the runtime's device; or N×T×C×H×W, already transformed by each of ``tta``.
        gate: an image that the network's image head holds for not empty with less than this mean probability is
            0 everywhere; 0 leaves every image as it is.

    Returns:
        N×classes×H×W float32 in 0…1.

    Raises:
        SegfoldError: there is a gate but the network has no image head.
    """
    total: Tensor | float = 0.0
    filled: Tensor | float = 0.0
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
        total = total + transform.inverse(logits.sigmoid())
        if gate > 0:
            if found.image is None:
                raise SegfoldError(f"predict.gate is {gate:g} but the network has no image head; set predict.gate=0")
            filled = filled + found.image.float().sigmoid()
    mean = torch.as_tensor(total / len(tta))
    if gate > 0:
        mean = mean * (torch.as_tensor(filled / len(tta)) >= gate).reshape(-1, 1, 1, 1)
    return mean


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: ImageSet,
    rows: np.ndarray,
    sizing: Sizing,
    *,
    channels: tuple[str, ...] = ("image",),
    tta: Sequence[str],
    batch_size: int,
    runtime: Runtime,
    gate: float = 0.0,
    on_batch: Callable[[int], None] = lambda samples: None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> Iterator[tuple[str, np.ndarray]]:
    """Id and probabilities (classes×height×width of the original image, float32) of each row, in order.

    Args:
        network: in eval mode, on the runtime's device.
        rows: indices into ``images``.
        gate: see :func:`probabilities`.
        on_batch: called with the number of images of each finished batch.
        say: called with a line where batches are predicted in float32 because a lower precision gives no finite numbers.

    Raises:
        SegfoldError: the device's memory does not hold a batch.
    """
    told = False
    dataset = PredictionSet(images, rows, sizing, channels=channels, tta=tta)
    wanted = 0 if runtime.device.type == "cpu" else min(runtime.workers, 4)
    size = dataset.sample_bytes * batch_size
    workers, ahead = fitting(wanted, size, 2)
    if workers < wanted:
        say(too_little_shared(size))
    loading = loader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        pin_memory=runtime.pinned,
        worker_init_fn=leave_signals_to_parent,
    )
    for batch in batches(loading):
        with memory_errors(runtime, f"lower predict.batch_size (now {batch_size})"):
            pixels = batch["image"].to(runtime.device, non_blocking=True)
            try:
                mean = probabilities(network, pixels, tta, runtime, gate)
            except _RangeError:
                # Batch by batch, so that a prediction that was stopped goes on with the same bits.
                mean = probabilities(network, pixels, tta, replace(runtime, precision="fp32"), gate)
                if not told:
                    say(f"{runtime.precision} gives numbers that are not finite; predicting in float32 where it does")
                    told = True
            found = mean.cpu().numpy()
        for row, values in zip(batch["row"].tolist(), found):
            height, width = images.images.shapes[row][:2]
            yield str(images.ids[row]), sizing.restore(values, (int(height), int(width)))
        on_batch(len(found))
