"""DeconvNet: VGG16, and its mirror image that puts what was pooled back where it came from."""

from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segfold.models.fcn_vgg import FC6_KERNEL, FULL_WIDTH, VGG16, Switch, VGGName, load_classifier, start_plain
from segfold.models.headed import NO_HEADS, DeepestHeads, Headed
from segfold.models.heads import Features, Offer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels
from segfold.models.ranges import Channels, HeadChannels

_SPREAD = 0.01
_SHIFT = 0.001
_MIRROR = {5: (8, 8, 8), 4: (8, 8, 4), 3: (4, 4, 2), 2: (2, 1), 1: (1, 1)}
"""Channels of the deconvolutions behind each unpooling, as multiples of ``width``."""


class DeconvNet(Headed):
    """DeconvNet (Noh et al., arXiv 1505.04366), as the authors' code has it.

    Behind VGG16 and its classifier's two layers as convolutions, ``fc6`` and ``fc7``, a deconvolution brings back the size of the
    fifth pool. Then each pool is undone: every value goes to where that pool found its maximum, all else is zero, and
    deconvolutions fill the gaps. All but the last layer have a batch norm, in the place of the classifier's dropout. Pools round
    up, as Caffe's do, so nothing of an odd row or column is lost.

    A deconvolution of 3×3 at stride 1 is a convolution with the turned kernel, and is computed as that, which is faster.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: VGG16 with batch norms, as published, or without.
        weights: what it starts from: ``imagenet`` (timm's classifier), ``none``, or a file of torchvision's or timm's VGG16. ``fc6``
            and ``fc7`` are the classifier's first two linear layers where it has them and they fit: ``fc_width`` 4096 and
            ``fc_kernel`` 7.
        width: channels of the encoder's first stage, of which the last has eight times as many; weights of others are 64 wide.
        fc_width: channels of ``fc6`` and ``fc7``; at 4096 they and the deconvolution behind have 222 of 252 million parameters.
        fc_kernel: side of the filters of ``fc6`` and of the deconvolution behind ``fc7``. Images must be at least
            32 · (fc_kernel - 1) + 1 high and wide, 193 at 7.
        heads: further heads on what ``fc7`` gives.
        head_channels: channels within the heads.

    Attributes:
        smallest: least height and width of an image.
        loaded: lines on the weights that it started from.

    Raises:
        SegfoldError: weights that cannot be had or do not fit.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        encoder: VGGName = "vgg16_bn",
        weights: str = "imagenet",
        width: Annotated[int, Ge(1), Le(512)] = FULL_WIDTH,
        fc_width: Channels = 4096,
        fc_kernel: Annotated[int, Ge(1), Le(31)] = FC6_KERNEL,
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.smallest, self.stride = self.sides(fc_kernel=fc_kernel)
        self.encoder = VGG16(encoder, in_channels, width, pad=1)
        deepest = self.encoder.channels[-1]
        self.fc6 = nn.Conv2d(deepest, fc_width, fc_kernel)
        self.fc7 = nn.Conv2d(fc_width, fc_width, 1)
        for conv in (self.fc6, self.fc7):
            start_plain(conv)
        self.fc6_norm, self.fc7_norm = nn.BatchNorm2d(fc_width), nn.BatchNorm2d(fc_width)
        back = nn.ConvTranspose2d(fc_width, deepest, fc_kernel)
        self.decoder = nn.ModuleDict({"fc6": nn.Sequential(back, nn.BatchNorm2d(deepest), nn.ReLU(inplace=True))})
        inputs = deepest
        for stage, multiples in _MIRROR.items():
            outputs = [multiple * width for multiple in multiples]
            self.decoder[str(stage)] = _deconvolutions([inputs, *outputs])
            inputs = outputs[-1]
        self.last = nn.Conv2d(inputs, classes, 1)
        for layer in [*self.decoder.modules(), self.last]:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=_SPREAD)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for layer in self.modules():
            if isinstance(layer, _BatchNorm):
                nn.init.constant_(layer.bias, _SHIFT)
        self.add_heads(DeepestHeads.model_validate(heads), Offer(fc_width, classes, head_channels))
        self.loaded: list[str] = []
        if weights != "none":
            load_classifier(self, encoder, weights, in_channels=in_channels, width=width)

    @staticmethod
    def sides(*, fc_kernel: int = FC6_KERNEL, **others: object) -> tuple[int, int]:
        """The least height or width of which the fifth pool is as large as ``fc6``'s filter; further ones differ by 1."""
        return 32 * (fc_kernel - 1) + 1, 1

    def decode(self, seen: Tensor, switches: list[Switch]) -> Tensor:
        """What ``fc7`` gives, and the switches of the five pools, to width×H×W features of the image's pixels."""
        x: Tensor = self.decoder["fc6"](seen)
        for stage, switch in zip(_MIRROR, switches[::-1]):
            x = self.decoder[str(stage)](unpooled(x, switch))
        return x

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is below ``smallest``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, smallest=self.smallest)
        x, switches = self.encoder.with_switches(pixels)
        x = F.relu(self.fc6_norm(self.fc6(x)), inplace=True)
        x = F.relu(self.fc7_norm(self.fc7(x)), inplace=True)
        return Output(self.last(self.decode(x, switches)), self.head_logits(Features(x)))


def unpooled(pooled: Tensor, switch: Switch) -> Tensor:
    """N×C×h×w to the size of what was pooled: each value where the pool found its maximum, zeros elsewhere."""
    return F.max_unpool2d(pooled, switch.places, (2, 2), output_size=switch.size)


def _deconvolutions(channels: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
