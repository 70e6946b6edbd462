"""The dense convolution that a GCN block equals."""

import torch
from torch import Tensor, nn

from segfold.models.gcn_blocks import GCNBlock


def dense_kernel(block: GCNBlock) -> Tensor:
    """Weights outputs×inputs×k×k of a block's two branches, each the product of its column and row over the channels between."""
    weights = [convolution.get_parameter("weight") for branch in (block.left, block.right) for convolution in branch]
    down, across, first_across, second_down = weights
    left = torch.einsum("miu,omv->oiuv", down[..., 0], across[:, :, 0])
    right = torch.einsum("miv,omu->oiuv", first_across[:, :, 0], second_down[..., 0])
    return left + right


def dense_convolution(block: GCNBlock) -> nn.Conv2d:
    """One convolution that gives what a block without biases gives."""
    kernel = dense_kernel(block).detach()
    outputs, inputs, size = kernel.shape[:3]
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    layer.weight = nn.Parameter(kernel)
    return layer
