"""Upsampling by transposed convolutions that start as bilinear interpolation."""

import torch
from torch import Tensor, nn


def bilinear_kernel(size: int) -> Tensor:
    """size×size weights with which a transposed convolution interpolates: (1 - |i - c|/f) in each axis, f = ⌈size/2⌉.

    Reference:
        Long et al., arXiv 1411.4038, section 3.3.

    Example:
        >>> bilinear_kernel(4)[0].tolist()
        [0.0625, 0.1875, 0.1875, 0.0625]
    """
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - (torch.arange(size) - centre).abs() / factor
    return line[:, None] * line[None, :]


def bilinear_deconvolution(channels: int, kernel: int, stride: int, padding: int = 0) -> nn.ConvTranspose2d:
    """Transposed convolution without bias that at first interpolates each channel by itself, and then learns.

    From n rows it makes (n - 1) · stride + kernel - 2 · padding; with kernel 4, stride 2 and padding 1 twice as many.
    """
    layer = nn.ConvTranspose2d(channels, channels, kernel, stride, padding, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight.diagonal().copy_(bilinear_kernel(kernel)[:, :, None].expand(-1, -1, channels))
    return layer
