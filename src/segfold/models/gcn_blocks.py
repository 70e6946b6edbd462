"""Blocks of the Global Convolutional Network: a large kernel made of long ones, and the refinement of boundaries."""

import math
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import AfterValidator
from torch import Tensor, nn

LARGEST_KERNEL = 1023


def odd(kernel: int) -> int:
    """The kernel itself.

    Raises:
        ValueError: it is even; the two nearest odd ones are named.
    """
    if kernel % 2 == 0:
        near = " or ".join(str(k) for k in (kernel - 1, kernel + 1) if 0 < k <= LARGEST_KERNEL)
        raise ValueError(f"Input should be odd, since an even kernel shifts the map: {near}")
    return kernel


Kernel = Annotated[int, Ge(1), Le(LARGEST_KERNEL), AfterValidator(odd)]
"""Length of a GCN block's convolutions."""


class GCNBlock(nn.Module):
    """A k×k kernel as the sum of k×1 → 1×k and 1×k → k×1: 2k(inputs + outputs) weights an output, no more.

    Nothing but convolutions, so it equals one dense k×k convolution of a restricted kernel, borders included. Weights are
    drawn so that the result varies as the input does, times ``gain``.

    Args:
        inputs: channels.
        outputs: channels of the result, and between the two convolutions of a branch.
        kernel: k, odd.
        bias: whether the convolutions have one; they start at zero.
        gain: deviation of the result for inputs of mean square one.

    Raises:
        ValueError: an even kernel.

    Reference:
        Peng et al., Large Kernel Matters, arXiv 1703.02719, section 3.1.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        across, down = (1, odd(kernel)), (kernel, 1)
        self.left = nn.Sequential(_same(inputs, outputs, down, bias), _same(outputs, outputs, across, bias))
        self.right = nn.Sequential(_same(inputs, outputs, across, bias), _same(outputs, outputs, down, bias))
        for branch in (self.left, self.right):
            draw(branch[0])
            draw(branch[1], gain / math.sqrt(2))

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×outputs×H×W."""
        return self.left(x) + self.right(x)


class BoundaryRefinement(nn.Module):
    """Score maps plus what 3×3 → ReLU → 3×3 makes of them; near the identity at the start.

    Args:
        channels: of the score maps.

    Reference:
        Peng et al., Large Kernel Matters, arXiv 1703.02719, section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _same(channels, channels, (3, 3), True), nn.ReLU(inplace=True), _same(channels, channels, (3, 3), True)
        )
        draw(self.residual[0], math.sqrt(2))
        draw(self.residual[2], 0.1)

    def forward(self, scores: Tensor) -> Tensor:
        """N×channels×H×W to the same shape."""
        return scores + self.residual(scores)


def _same(inputs: int, outputs: int, kernel: tuple[int, int], bias: bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=(kernel[0] // 2, kernel[1] // 2), bias=bias)


def draw(layer: nn.Module, gain: float = 1.0) -> None:
    """Normal weights of deviation gain / √fan-in, and biases of zero, for a convolution."""
    assert isinstance(layer, nn.Conv2d)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    layer.weight.data.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
