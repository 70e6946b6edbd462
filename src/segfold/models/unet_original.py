"""The first U-Net: convolutions without padding, so that nothing it says rests on made-up pixels."""

import math
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from segfold.models.headed import NO_HEADS, DeepestHeads, Headed
from segfold.models.heads import Features, Offer, last_layer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels, check_sides, plain_input
from segfold.models.ranges import Dropout, HeadChannels

Depth = Annotated[int, Ge(1), Le(5)]
"""Halvings; tiles begin at multiples of 32 of the image's pixels (``segfold.data.geometry.tiles``), which 2⁵ divides."""


class OriginalUNet(Headed):
    """U-Net as it was published (Ronneberger et al., arXiv 1505.04597): 23 convolutions, none of them padded.

    It gives ``margin`` pixels less on each side than it takes, 388×388 of 572×572; what the encoder says of the skips' edges is
    cut off. Large images are predicted by tiles that overlap in their margins alone, the paper's overlap-tile: its answer is that
    of the whole image.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        width: channels at full resolution; each level below has twice as many.
        depth: how often the size is halved.
        norm: a batch norm behind each 3×3 convolution, in the place of its bias; the paper has none.
        dropout: share of values dropped in training behind the two deepest levels of the encoder, where the authors'
            network has it.
        heads: further heads, on the deepest level.
        head_channels: channels within the heads.

    Attributes:
        smallest: least height and width of the input.
        stride: what further heights and widths differ by.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        width: Annotated[int, Ge(1), Le(512)] = 64,
        depth: Depth = 4,
        norm: bool = False,
        dropout: Dropout = 0.5,
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.smallest, self.stride = self.sides(depth=depth)
        self.input = plain_input(in_channels)
        widths = [width << level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(_two_convs(*each, norm) for each in pairwise([in_channels, *widths]))
        self.dropout = nn.Dropout(dropout)
        self.add_heads(DeepestHeads.model_validate(heads), Offer(widths[-1], classes, head_channels))
        downward = list(pairwise(widths[::-1]))
        self.up = nn.ModuleList(_up(*each) for each in downward)
        self.decoder = nn.ModuleList(_two_convs(*each, norm) for each in downward)
        self.last = last_layer(width, classes)

    @staticmethod
    def margin(*, depth: int = 4, **others: object) -> int:
        """Pixels on each side of the input that there are no logits of."""
        return 6 * 2**depth - 4

    @staticmethod
    def sides(*, depth: int = 4, **others: object) -> tuple[int, int]:
        """The least height or width that is halved without a remainder and leaves something; what further ones differ by."""
        return 2 * OriginalUNet.margin(depth=depth) + min(4, 2**depth), 2**depth

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of ``margin`` rows and columns less on each side.

        Raises:
            SegfoldError: height or width is not ``smallest`` and a multiple of ``stride`` more, or the channels are others.
        """
        check_pixels(pixels, self.in_channels)
        check_sides((pixels.shape[2], pixels.shape[3]), self.smallest, self.stride)
        x = self.input(pixels)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder, 1):
            x = block(F.max_pool2d(x, 2) if skips else x)
            if level >= len(self.encoder) - 1:
                x = self.dropout(x)
            skips.append(x)
        heads = self.head_logits(Features(x))
        for up, block, skip in zip(self.up, self.decoder, skips[-2::-1]):
            x = up(x)
            around = (skip.shape[2] - x.shape[2]) // 2
            x = block(torch.cat([F.pad(skip, [-around] * 4), x], dim=1))
        return Output(self.last(x), heads)


def _two_convs(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    parts: list[nn.Module] = []
    for channels in (inputs, outputs):
        conv = nn.Conv2d(channels, outputs, 3, bias=not norm)
        _drawn(conv, 9 * channels)
        parts += [conv, nn.BatchNorm2d(outputs) if norm else nn.Identity(), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """The up-convolution: each pixel becomes 2×2."""
    conv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    _drawn(conv, inputs)
    return conv


def _drawn(conv: nn.Conv2d | nn.ConvTranspose2d, incoming: int) -> None:
    """Draws weights as the paper does, by how many values come together in one: its N."""
    nn.init.normal_(conv.weight, std=math.sqrt(2 / incoming))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
