"""Object context: every position gathers the values of the positions like it (OCNet, arXiv 1809.00916).

The positions' keys serve as their queries too, so likeness is mutual. Attention goes through
``scaled_dot_product_attention``, whose memory grows with the number of positions where a fused kernel takes the
shapes (keys as long as values) and with its square elsewhere; its time always grows with the square.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.models.blocks import conv_bn, resize


def attend(keys: Tensor, values: Tensor) -> Tensor:
    """Each position's mean of all values, weighted by the softmax of the keys' products over √K.

    Args:
        keys: N×K×H×W.
        values: N×V×H×W.

    Returns:
        N×V×H×W, channels last in memory.
    """
    # One head of rows that lie together in memory: the form that fused kernels ask for.
    k, v = (x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous() for x in (keys, values))
    context = F.scaled_dot_product_attention(k, k, v)
    return context.squeeze(1).transpose(1, 2).unflatten(2, values.shape[2:])


def attend_within(keys: Tensor, values: Tensor, regions: int) -> Tensor:
    """``attend`` inside each of ``regions`` × ``regions`` parts of the map, the last of which take the rest.

    A map of fewer rows or columns than ``regions`` has as many parts as those.
    """
    if regions == 1:
        return attend(keys, values)
    rows = []
    for k_row, v_row in zip(_parts(keys, regions, 2), _parts(values, regions, 2)):
        rows.append(torch.cat([attend(k, v) for k, v in zip(_parts(k_row, regions, 3), _parts(v_row, regions, 3))], 3))
    return torch.cat(rows, 2)


def _parts(x: Tensor, count: int, dim: int) -> tuple[Tensor, ...]:
    size = x.shape[dim]
    count = min(count, size)
    step = size // count
    return x.split([step] * (count - 1) + [size - step * (count - 1)], dim)


def conv_abn(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, bias: bool = True) -> nn.Sequential:
    """Convolution, batch norm, leaky ReLU of slope 0.01: the activated norm that OCNet was published with."""
    return conv_bn(inputs, outputs, kernel, nn.LeakyReLU(0.01, inplace=True), dilation=dilation, bias=bias)


class ObjectContext(nn.Module):
    """The context of each position. It starts as zero: the last projection does.

    Args:
        channels: of the feature map and of the context.
        keys: length of the keys.
        values: length of the values.
        scale: attention on the map max-pooled by so much, its result upsampled.
        regions: attention inside each of so many by so many parts of the map.
    """

    def __init__(self, channels: int, keys: int, values: int, scale: int = 1, regions: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.regions = regions
        self.keys = conv_abn(channels, keys)
        self.values = nn.Conv2d(channels, values, 1)
        self.project = nn.Conv2d(values, channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """N×channels×H×W to the same shape."""
        size = x.shape[2:]
        if self.scale > 1:
            x = F.max_pool2d(x, self.scale, ceil_mode=True)
        return resize(self.project(attend_within(self.keys(x), self.values(x), self.regions)), size)


class BaseOC(nn.Module):
    """Base-OC: the context, concatenated with the feature, through 1×1-BN-leaky-ReLU and dropout.

    Args:
        channels: of the feature map and of the result.
        scales: of the contexts, which are summed; 2 costs a sixteenth of 1.
        dropout: share of the result's channels dropped in training.
    """

    def __init__(self, channels: int, scales: Sequence[int] = (1,), dropout: float = 0.05) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.contexts = nn.ModuleList(ObjectContext(channels, half, half, scale) for scale in scales)
        self.fuse = conv_abn(2 * channels, channels).append(nn.Dropout2d(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """N×channels×H×W to the same shape."""
        context = self.contexts[0](x)
        for other in self.contexts[1:]:
            context = context + other(x)
        return self.fuse(torch.cat([context, x], 1))


class PyramidOC(nn.Module):
    """Pyramid-OC: contexts within regions of several sizes beside the widened feature, fused by 1×1.

    Args:
        channels: of the feature map and of the result.
        sizes: regions a side of each context.
        dropout: share of the result's channels dropped in training.
    """

    def __init__(self, channels: int, sizes: Sequence[int] = (1, 2, 3, 6), dropout: float = 0.05) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.contexts = nn.ModuleList(ObjectContext(channels, half, channels, regions=size) for size in sizes)
        wide = len(self.contexts) * channels
        self.widen = conv_abn(channels, wide)
        self.fuse = conv_abn(2 * wide, channels).append(nn.Dropout2d(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """N×channels×H×W to the same shape."""
        return self.fuse(torch.cat([self.widen(x), *(context(x) for context in self.contexts)], 1))


class AspOC(nn.Module):
    """ASP-OC: the context beside a 1×1 and dilated 3×3 convolutions, fused by 1×1.

    Args:
        inputs: channels of the feature map.
        channels: of each branch; the result has twice as many.
        dilations: of the 3×3 branches. The published 12, 24, 36 are for maps of 97×97: a dilation as large as the
            map leaves a 1×1 convolution.
        dropout: share of the result's channels dropped in training.
    """

    def __init__(
        self, inputs: int, channels: int = 256, dilations: Sequence[int] = (12, 24, 36), dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.context = nn.Sequential(
            conv_abn(inputs, channels, 3),
            ObjectContext(channels, max(1, channels // 2), channels, scale=2),
            conv_abn(channels, channels),
        )
        self.branches = nn.ModuleList([conv_abn(inputs, channels, bias=False)])
        self.branches.extend(conv_abn(inputs, channels, 3, d, bias=False) for d in dilations)
        wide = (1 + len(self.branches)) * channels
        self.fuse = conv_abn(wide, 2 * channels, bias=False).append(nn.Dropout2d(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×(2·channels)×H×W."""
        return self.fuse(torch.cat([self.context(x), *(branch(x) for branch in self.branches)], 1))
