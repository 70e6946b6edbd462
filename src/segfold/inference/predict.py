"""Probabilities of images: network, test-time augmentation, activation, back to the original size."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segfold.data.dataset import PredictionSet
from segfold.data.images import ImageSet
from segfold.data.sizing import Sizing
from segfold.data.tta import TRANSFORMS
from segfold.data.workers import batches, loader
from segfold.errors import SegfoldError
from segfold.inference.device import Runtime


def probabilities(
    network: nn.Module, images: Tensor, tta: Sequence[str], runtime: Runtime, gate: float = 0.0
) -> Tensor:
    """Mean probability over the transforms of ``tta``, each undone on the network's output.

    Args:
        images: N×C×H×W, raw pixels, on the runtime's device.
        gate: an image that the network's image head holds for not empty with less than this mean probability is
            0 everywhere; 0 leaves every image as it is.

    Returns:
        N×classes×H×W float32 in 0…1.

    Raises:
        SegfoldError: there is a gate but the network has no image head.
    """
    total: Tensor | float = 0.0
    filled: Tensor | float = 0.0
    for name in tta:
        transform = TRANSFORMS[name]
        with runtime.autocast():
            found = network(transform.forward(images).contiguous(memory_format=torch.channels_last))
        total = total + transform.inverse(found.logits.float().sigmoid())
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
) -> Iterator[tuple[str, np.ndarray]]:
    """Id and probabilities (classes×height×width of the original image, float32) of each row, in order.

    Args:
        network: in eval mode, on the runtime's device.
        rows: indices into ``images``.
        gate: see :func:`probabilities`.
        on_batch: called with the number of images of each finished batch.
    """
    loading = loader(
        PredictionSet(images, rows, sizing, channels=channels),
        batch_size=batch_size,
        num_workers=0 if runtime.device.type == "cpu" else min(runtime.workers, 4),
        pin_memory=runtime.pinned,
    )
    for batch in batches(loading):
        pixels = batch["image"].to(runtime.device, non_blocking=True, memory_format=torch.channels_last)
        found = probabilities(network, pixels, tta, runtime, gate).cpu().numpy()
        for row, values in zip(batch["row"].tolist(), found):
            height, width = images.images.shapes[row][:2]
            yield str(images.ids[row]), sizing.restore(values, (int(height), int(width)))
        on_batch(len(found))
