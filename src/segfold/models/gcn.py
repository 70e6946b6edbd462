"""The Global Convolutional Network: score maps of every encoder stage by large kernels, summed from coarse to fine."""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor, nn

from segfold.models.deconvolution import bilinear_deconvolution
from segfold.models.encoders import Encoder
from segfold.models.gcn_blocks import BoundaryRefinement, GCNBlock, Kernel
from segfold.models.headed import NO_HEADS, DeepestHeads, Headed
from segfold.models.heads import Features, Offer, last_layer
from segfold.models.link_blocks import check_scales
from segfold.models.output import Output
from segfold.models.pixels import check_pixels
from segfold.models.ranges import Channels, EncoderOptions, HeadChannels

Side = Annotated[int, Ge(32), Le(2048)]


class GCN(Headed):
    """Global Convolutional Network (Peng et al., Large Kernel Matters, arXiv 1703.02719).

    A GCN block and a boundary refinement make score maps of each of the encoder's last four features. From the coarsest
    on they are doubled in size, the next finer ones are added, and the sum is refined; at the end they are doubled and
    refined to the size of the input: nine refinements where the finest feature is at stride 4. There is no norm and,
    but for the refinements, no nonlinearity after the encoder.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: name of a timm model; ResNet152 in the paper. ``resnet50_gcn`` is the paper's ResNet50 with large kernels in
            its last two stages, for which there are no pretrained weights.
        weights: what the encoder starts from: ``imagenet``, ``none``, or a file.
        stem_pool: ``false`` removes the stem's max-pool: twice the resolution at four times the cost. The score maps
            are then doubled once less at the end.
        encoder_options: further arguments of timm's ``create_model``.
        kernel: odd length of the GCN blocks' kernels, one for all or one a feature from the finest; 15 in the paper, for
            images of 512². ``map``: as large as each feature of an image of ``map_side``, made odd: 55, 27, 13 and 7 for 224.
        map_side: height and width in pixels of the images to whose features ``kernel: map`` fits the kernels.
        boundary: score maps are refined.
        upsampling: how score maps are doubled: by a transposed convolution that starts as bilinear interpolation
            (``deconvolution``, the paper's), or ``bilinear``, as in its best known implementations.
        channels: of the score maps; null: one a class, which are the logits, as in the paper. Others are followed
            by a 1×1 convolution: one class alone gives the refinements little to work with.
        heads: further heads on the deepest feature.
        head_channels: channels within the heads.

    Attributes:
        stride: height and width of the input must be multiples of it.

    Raises:
        SegfoldError: an encoder without four scales.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        encoder: str = "resnet50",
        weights: str = "imagenet",
        stem_pool: bool = True,
        encoder_options: EncoderOptions | None = None,
        kernel: Kernel | tuple[Kernel, Kernel, Kernel, Kernel] | Literal["map"] = 7,
        map_side: Side = 224,
        boundary: bool = True,
        upsampling: Literal["deconvolution", "bilinear"] = "deconvolution",
        channels: Channels | None = None,
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, in_channels, weights, stem_pool, options=encoder_options)
        check_scales(self.encoder, encoder)
        self.in_channels = in_channels
        self.stride = self.encoder.divisor
        strides = self.encoder.strides[-4:]
        kernels = map_kernels(map_side, strides) if kernel == "map" else kernel
        if isinstance(kernels, int):
            kernels = (kernels,) * 4
        width = classes if channels is None else channels
        # The logits are a sum of all score maps; where no small last layer follows, the maps themselves start small.
        gain = 0.1 if channels is None else 1.0

        def refinement() -> nn.Module:
            return BoundaryRefinement(width) if boundary else nn.Identity()

        self.scores = nn.ModuleList(
            nn.Sequential(GCNBlock(inputs, width, k, gain=gain), refinement())
            for inputs, k in zip(self.encoder.channels[:-5:-1], kernels[::-1])
        )
        doublings = 3 + strides[0].bit_length() - 1
        self.up = nn.ModuleList(_doubling(upsampling, width) for _ in range(doublings))
        self.refine = nn.ModuleList(refinement() for _ in range(doublings))
        self.last = nn.Identity() if channels is None else last_layer(channels, classes)
        self.add_heads(DeepestHeads.model_validate(heads), Offer(self.encoder.channels[-1], classes, head_channels))

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """The encoder's features, from fine to coarse, to the refined score maps, from coarse to fine."""
        maps = [score(feature) for score, feature in zip(self.scores, features[:-5:-1])]
        levels = maps[:1]
        for i, (up, refine) in enumerate(zip(self.up, self.refine), 1):
            x = up(levels[-1])
            levels.append(refine(x + maps[i] if i < len(maps) else x))
        return levels

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is not a multiple of ``stride``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, self.stride, self.encoder.only_size)
        features = self.encoder(pixels)
        heads = self.head_logits(Features(features[-1]))
        return Output(self.last(self.decode(features)[-1]), heads)


def map_kernels(side: int, strides: tuple[int, ...]) -> tuple[int, ...]:
    """The largest odd kernel, at least 1, that is no longer than a map of each stride.

    Example:
        >>> map_kernels(224, (4, 8, 16, 32))
        (55, 27, 13, 7)
    """
    return tuple((side // stride - 1) | 1 for stride in strides)


def _doubling(kind: str, channels: int) -> nn.Module:
    if kind == "bilinear":
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return bilinear_deconvolution(channels, 4, 2, 1)
