"""FC-DenseNet ("the one hundred layers tiramisu"): a U-Net of dense blocks."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le, MaxLen
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segfold.models.headed import NO_HEADS, DeepestHeads, Headed
from segfold.models.heads import Features, Offer, last_layer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels, plain_input
from segfold.models.ranges import Channels, Dropout, HeadChannels

Layers = Annotated[int, Ge(1), Le(64)]


class DenseLayer(nn.Module):
    """Norm, ReLU, 3×3 convolution, dropout on the concatenation of all maps so far."""

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *maps: Tensor) -> Tensor:
        return self.dropout(self.conv(torch.relu(self.norm(torch.cat(maps, dim=1)))))


class DenseBlock(nn.Module):
    """Layers of which each sees the block's input and the new maps of all layers before it.

    Args:
        inputs: channels that enter.
        layers: how many.
        growth: new maps of each layer.
        dropout: share of the new maps' values dropped in training.
        saving: keeps for the backward pass only the new maps, and computes concatenation, norm, ReLU and
            convolution of each layer again from them (Pleiss et al., arXiv 1707.06990). The concatenations are most
            of a dense network's memory: it grows with the square of the number of layers without this.
    """

    def __init__(self, inputs: int, layers: int, growth: int, dropout: float, saving: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(inputs + i * growth, growth, dropout) for i in range(layers))
        self.saving = saving

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to the new maps alone, N×(layers·growth)×H×W."""
        maps = [x]
        # A compiled graph decides by itself what to compute again.
        saving = self.saving and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        for layer in self.layers:
            maps.append(_computed_twice(layer, maps) if saving else layer(*maps))
        return torch.cat(maps[1:], dim=1)


def _computed_twice(layer: nn.Module, maps: list[Tensor]) -> Tensor:
    assert isinstance(layer, DenseLayer)
    result: Tensor = checkpoint(
        layer, *maps, use_reentrant=False, context_fn=lambda: (nullcontext(), _without_statistics(layer.norm))
    )
    return result


@contextmanager
def _without_statistics(norm: nn.BatchNorm2d) -> Iterator[None]:
    # The second computation must not move the running statistics a second time: it gets copies, to be thrown away.
    statistics = dict(norm.named_buffers())
    for name, buffer in statistics.items():
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for name, buffer in statistics.items():
            setattr(norm, name, buffer)


class TransitionDown(nn.Module):
    """Norm, ReLU, 1×1 convolution of the same width, dropout, max-pool to half the size, rounded down."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.dropout(self.conv(torch.relu(self.norm(x)))), 2)


class FCDenseNet(Headed):
    """FC-DenseNet (Jégou et al., arXiv 1611.09326); the defaults are FC-DenseNet103.

    Only the new maps of a block go up, or their number would explode. Any size goes: a transposed convolution gives
    2n + 1 rows of n, of which the middle ones that match the skip are kept. FC-DenseNet67 has five layers in every
    block, FC-DenseNet56 four and a growth of 12.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        layers: how many in each dense block on the way down, and in reverse on the way up.
        bottleneck: layers of the dense block between.
        growth: new maps of each layer.
        first_channels: channels of the first convolution.
        dropout: share of values dropped in training, after every convolution but the first, the transposed ones and the last.
        checkpoint: saves memory at the price of a second forward pass, with the same result. Where the network is
            compiled, the compiler decides that by itself.
        heads: further heads, on the deepest block.
        head_channels: channels within the heads.

    Attributes:
        stride: 1, as height and width are free from ``smallest`` on.
        smallest: least height and width, of which one pixel reaches the bottleneck.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        layers: Annotated[tuple[Layers, ...], MaxLen(8)] = (4, 5, 7, 10, 12),
        bottleneck: Layers = 15,
        growth: Annotated[int, Ge(1), Le(512)] = 16,
        first_channels: Channels = 48,
        dropout: Dropout = 0.2,
        checkpoint: bool = False,
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = 1
        self.smallest = 2 ** len(layers)
        self.input = plain_input(in_channels)
        self.first = nn.Conv2d(in_channels, first_channels, 3, padding=1)
        width, skips = first_channels, []
        self.down = nn.ModuleList()
        self.pool = nn.ModuleList()
        for count in layers:
            self.down.append(DenseBlock(width, count, growth, dropout, checkpoint))
            width += count * growth
            self.pool.append(TransitionDown(width, dropout))
            skips.append(width)
        self.bottleneck = DenseBlock(width, bottleneck, growth, dropout, checkpoint)
        self.add_heads(DeepestHeads.model_validate(heads), Offer(width + bottleneck * growth, classes, head_channels))
        self.unpool = nn.ModuleList()
        self.up = nn.ModuleList()
        new = bottleneck * growth
        for count, skip in zip(reversed(layers), reversed(skips)):
            self.unpool.append(nn.ConvTranspose2d(new, new, 3, stride=2))
            self.up.append(DenseBlock(new + skip, count, growth, dropout, checkpoint))
            width, new = new + skip, count * growth
        for blocks in (self.first, self.down, self.pool, self.bottleneck, self.unpool, self.up):
            _he_uniform(blocks)
        self.last = last_layer(width + new, classes)

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is below ``smallest``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, smallest=self.smallest)
        x = self.first(self.input(pixels))
        skips = []
        for block, pool in zip(self.down, self.pool):
            x = torch.cat([x, block(x)], dim=1)
            skips.append(x)
            x = pool(x)
        new = self.bottleneck(x)
        heads = self.head_logits(Features(torch.cat([x, new], dim=1)))
        for unpool, block, skip in zip(self.unpool, self.up, reversed(skips)):
            x = torch.cat([_centre(unpool(new), skip), skip], dim=1)
            new = block(x)
        return Output(self.last(torch.cat([x, new], dim=1)), heads)


def _centre(x: Tensor, like: Tensor) -> Tensor:
    """The middle of ``x`` that has the height and width of ``like``."""
    height, width = like.shape[2:]
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def _he_uniform(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
