"""The dense convolution that a GCN block equals."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def dense_kernel(weights: Sequence[Tensor]) -> Tensor:
    """Weights outputs×inputs×k×k of a block's two branches, each the product of its column and row over the channels between.

    Args:
        weights: of the first branch's column and row, then of the second's row and column.
    """
    down, across, first_across, second_down = weights
    left = torch.einsum("miu,omv->oiuv", down[..., 0], across[:, :, 0])
    right = torch.einsum("miv,omu->oiuv", first_across[:, :, 0], second_down[..., 0])
    return left + right


def dense_convolution(weights: Sequence[Tensor]) -> nn.Conv2d:
    """One convolution that gives what a block without biases gives. Arguments as of ``dense_kernel``."""
    kernel = dense_kernel(weights).detach()
    outputs, inputs, size = kernel.shape[:3]
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    layer.weight = nn.Parameter(kernel)
    return layer
