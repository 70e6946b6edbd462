"""A plain loop over the boxes of an image, one input at a time, as DeconvNet's published script has it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


@torch.inference_mode()
def predict(
    logits_of: Callable[[Tensor], Tensor],
    image: np.ndarray,
    boxes: Sequence[Sequence[int]],
    size: int,
    resized: Callable[[np.ndarray, tuple[int, int]], np.ndarray],
) -> np.ndarray:
    """The softmax of the largest logits, C×H×W float32, over the whole image and boxes.

    Args:
        logits_of: N×3×size×size uint8 in channels-last order to N×C×size×size on the CPU.
        image: H×W×3 uint8.
        boxes: top, left, height and width of each; they may reach beyond the image, where zeros are.
        size: height and width of the network's input.
        resized: an image or a plane at another height and width.
    """
    height, width = image.shape[:2]
    largest: np.ndarray | None = None
    for top, left, rows, columns in [(0, 0, height, width), *boxes]:
        high, wide = max(-top, 0), max(-left, 0)
        low, right = min(top + rows, height), min(left + columns, width)
        crop = np.zeros((rows, columns, 3), np.uint8)
        crop[high : high + low - max(top, 0), wide : wide + right - max(left, 0)] = image[
            max(top, 0) : low, max(left, 0) : right
        ]
        pixels = torch.from_numpy(resized(crop, (size, size))).permute(2, 0, 1)[None]
        logits = logits_of(pixels.contiguous(memory_format=torch.channels_last))[0]
        planes = np.stack([resized(plane, (rows, columns)) for plane in logits.float().numpy()])
        if largest is None:
            largest = np.full((len(planes), height, width), -np.inf, np.float32)
        part = largest[:, max(top, 0) : low, max(left, 0) : right]
        np.maximum(part, planes[:, high : high + part.shape[1], wide : wide + part.shape[2]], out=part)
    return torch.from_numpy(largest).softmax(0).numpy()
