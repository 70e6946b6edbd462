"""FCN-32s, -16s and -8s: a classifier of images made to classify pixels."""

from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from segfold.models.blocks import upsample
from segfold.models.deconvolution import bilinear_deconvolution
from segfold.models.fcn_grid import Grid
from segfold.models.fcn_vgg import FC6_KERNEL, FULL_WIDTH, VGG16, VGGName, load_classifier, start_plain
from segfold.models.headed import NO_HEADS, DeepestHeads, Headed
from segfold.models.heads import Features, Offer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels
from segfold.models.ranges import Channels, Dropout, HeadChannels

Pad = Annotated[int, Ge(0), Le(500)]
Factor = Annotated[float, Ge(0), Le(1000)]


class FCN(Headed):
    """FCN-32s, -16s and -8s on VGG16 (Long et al., arXiv 1411.4038), as the authors' code has them.

    The classifier's linear layers are convolutions, ``fc6`` and ``fc7``, so that it takes any size and gives a score a class at every
    32nd pixel. Scores of the fourth and third pool are added, each after the coarser sum is doubled. The border of the first
    convolution leaves enough around the image for all that; what is cut off follows from where the cells lie, not from the size.
    All scores start at zero, so a network with finer scores starts as good as the coarser one that it starts from by ``init``.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: VGG16 with batch norms or without.
        weights: what it starts from: ``imagenet`` (timm's classifier), ``none``, or a file of torchvision's or timm's VGG16. ``fc6``
            and ``fc7`` are the classifier's first two linear layers where it has them and they are ``fc_width`` wide.
        finest: stride of the finest score: 32, 16 or 8.
        fc_width: channels of ``fc6`` and ``fc7``; at 4096 the two have 120 of 134 million parameters.
        width: channels of the encoder's first stage, of which the last has eight times as many; weights of others are 64 wide.
        pad: border of the first convolution. The less it is, the further logits fade to 0 towards the image's border, and images
            must be at least 195 - 2 · pad high and wide.
        dropout: share of values dropped after ``fc6`` and ``fc7``, in training only.
        skip_scales: factors on the fourth and third pool before they are scored; 0.01 and 0.0001 let FCN-8s be trained at once.
        learnt_deconvolutions: which of the upsamplings, all bilinear at first, learn: those that double scores (``doublings``),
            ``all``, or ``none``.
        heads: further heads on what ``fc7`` gives.
        head_channels: channels within the heads.

    Attributes:
        smallest: least height and width of an image.
        crops: how many cells are cut off at the top and at the left, by name: of the finer pools, and ``last``, of the logits.
        loaded: lines on the weights that it started from.

    Raises:
        SegfoldError: weights that cannot be had or do not fit.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        encoder: VGGName = "vgg16",
        weights: str = "imagenet",
        finest: Literal[8, 16, 32] = 8,
        fc_width: Channels = 4096,
        width: Annotated[int, Ge(1), Le(512)] = FULL_WIDTH,
        pad: Pad = 100,
        dropout: Dropout = 0.5,
        skip_scales: tuple[Factor, Factor] = (1.0, 1.0),
        learnt_deconvolutions: Literal["none", "doublings", "all"] = "doublings",
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = 1
        self.smallest, _ = self.sides(pad=pad)
        self.encoder = VGG16(encoder, in_channels, width, pad)
        pool3, pool4, pool5 = self.encoder.channels
        self.fc6 = nn.Conv2d(pool5, fc_width, FC6_KERNEL)
        self.fc7 = nn.Conv2d(fc_width, fc_width, 1)
        for conv in (self.fc6, self.fc7):
            start_plain(conv)
        self.dropout = nn.Dropout(dropout)
        self.skip_scales = dict(zip(("16", "8"), skip_scales))
        scored = {"32": fc_width, "16": pool4, "8": pool3}
        strides = [stride for stride in scored if int(stride) >= finest]
        self.scores = nn.ModuleDict({stride: _score(scored[stride], classes) for stride in strides})
        doubles, last = learnt_deconvolutions != "none", learnt_deconvolutions == "all"
        self.doublings = nn.ModuleDict({stride: _upsampling(classes, 2, doubles) for stride in strides[1:]})
        self.last = _upsampling(classes, finest, last)
        self.crops = crops(finest, pad)
        self.add_heads(DeepestHeads.model_validate(heads), Offer(fc_width, classes, head_channels))
        self.loaded: list[str] = []
        if weights != "none":
            load_classifier(self, encoder, weights, in_channels=in_channels, width=width)

    @staticmethod
    def sides(*, pad: int = 100, **others: object) -> tuple[int, int]:
        """The least height or width of which the fifth pool is as large as ``fc6``'s filter; further ones differ by 1."""
        return max(1, 32 * (FC6_KERNEL - 1) + 3 - 2 * pad), 1

    def decode(self, pooled: list[Tensor], seen: Tensor) -> Tensor:
        """The third to fifth pool, and what ``fc7`` gives, to the summed scores at stride ``finest``."""
        total: Tensor = self.scores["32"](seen)
        for (stride, double), pool in zip(self.doublings.items(), pooled[-2::-1]):
            total = double(total)
            top = self.crops[stride]
            cropped = pool[:, :, top : top + total.shape[2], top : top + total.shape[3]]
            total = total + self.scores[stride](self.skip_scales[stride] * cropped)
        return total

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is below ``smallest``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, smallest=self.smallest)
        pooled = self.encoder(pixels)
        x = self.dropout(F.relu(self.fc6(pooled[-1]), inplace=True))
        x = self.dropout(F.relu(self.fc7(x), inplace=True))
        logits = self.last(self.decode(pooled, x))
        top = self.crops["last"]
        bottom, right = (pixels.shape[axis] - logits.shape[axis] + top for axis in (2, 3))
        # A border below 0 cuts off.
        return Output(F.pad(logits, (-top, right, -top, bottom)), self.head_logits(Features(x)))


class Interpolation(nn.Module):
    """What a transposed convolution of kernel 2 · ``factor`` and bilinear weights gives, without its products of zeros."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """N×C×h×w to N×C×(factor · (h + 1))×(factor · (w + 1)); beyond the border are zeros."""
        half = self.factor // 2
        return upsample(F.pad(x, (1, 1, 1, 1)), self.factor)[:, :, half:-half, half:-half]


def _upsampling(classes: int, factor: int, learns: bool) -> nn.Module:
    return bilinear_deconvolution(classes, 2 * factor, factor) if learns else Interpolation(factor)


def _score(inputs: int, classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def crops(finest: int, pad: int) -> dict[str, int]:
    """Cells to be cut off at the top and at the left: of the fourth pool, ``16``, the third, ``8``, and the logits, ``last``.

    Example:
        >>> crops(8, pad=100)
        {'16': 5, '8': 9, 'last': 31}
    """
    pools = [Grid().convolved(3, padding=pad)]
    for _ in range(5):
        pools.append(pools[-1].convolved(2, stride=2))
    scores, found = pools[5].convolved(FC6_KERNEL), {}
    for stride, pool in ((16, pools[4]), (8, pools[3])):
        if stride >= finest:
            scores = scores.deconvolved(4, 2)
            found[str(stride)] = pool.offset(scores)
    return {**found, "last": scores.deconvolved(2 * finest, finest).offset(Grid())}
