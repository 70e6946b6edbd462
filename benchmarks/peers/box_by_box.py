"""A plain loop over the boxes of an image, one input at a time, as DeconvNet's published script has it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from segfold.machine import Runtime
from segfold.resize import stretched


@torch.inference_mode()
def predict(
    network: nn.Module, image: np.ndarray, boxes: Sequence[Sequence[int]], size: int, runtime: Runtime
) -> np.ndarray:
    """The softmax of the largest logits, C×H×W float32, over the whole image and boxes.

    Args:
        image: H×W×3 uint8.
        boxes: top, left, height and width of each; they may reach beyond the image, where zeros are.
        size: height and width of the network's input.
    """
    height, width = image.shape[:2]
    largest: np.ndarray | None = None
    # The same resizing as segfold's, so that the results can be compared.
    for top, left, rows, columns in [(0, 0, height, width), *boxes]:
        high, wide = max(-top, 0), max(-left, 0)
        low, right = min(top + rows, height), min(left + columns, width)
        crop = np.zeros((rows, columns, 3), np.uint8)
        crop[high : high + low - max(top, 0), wide : wide + right - max(left, 0)] = image[
            max(top, 0) : low, max(left, 0) : right
        ]
        pixels = torch.from_numpy(stretched(crop, (size, size))).permute(2, 0, 1)[None].to(runtime.device)
        with runtime.autocast():
            logits = network(pixels.contiguous(memory_format=torch.channels_last)).logits[0]
        planes = np.stack([stretched(plane, (rows, columns)) for plane in logits.float().cpu().numpy()])
        if largest is None:
            largest = np.full((len(planes), height, width), -np.inf, np.float32)
        part = largest[:, max(top, 0) : low, max(left, 0) : right]
        np.maximum(part, planes[:, high : high + part.shape[1], wide : wide + part.shape[2]], out=part)
    return torch.from_numpy(largest).softmax(0).numpy()
