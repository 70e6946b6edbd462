"""LinkNet: encoder features are added, not concatenated, and the decoder works on a quarter of the channels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.models.blocks import conv_bn_relu, kaiming
from segfold.models.encoders import Encoder
from segfold.models.headed import NO_HEADS, DeepestHeads
from segfold.models.heads import Offer
from segfold.models.link_blocks import LinkDecoder, LinkForm, check_scales, deconvolution, start_undecided
from segfold.models.ranges import EncoderOptions, HeadChannels


class LinkNet(LinkForm):
    """LinkNet (Chaurasia and Culurciello, arXiv 1707.03718).

    What enters an encoder block is added to what leaves its decoder block, then ReLU. The outermost sum needs the
    stem's feature after the max-pool, so it takes place where the stem has as many channels as the first block
    (ResNet18 and 34) and its max-pool is there.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: name of a timm model; ResNet18 in the paper.
        weights: what the encoder starts from: ``imagenet``, ``none``, or a file.
        stem_pool: ``false`` removes the stem's max-pool: twice the resolution at four times the cost. The first
            transposed convolution after the decoder then keeps the size.
        encoder_options: further arguments of timm's ``create_model``.
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
        encoder: str = "resnet18",
        weights: str = "imagenet",
        stem_pool: bool = True,
        encoder_options: EncoderOptions | None = None,
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, in_channels, weights, stem_pool, options=encoder_options)
        check_scales(self.encoder, encoder)
        self.in_channels = in_channels
        self.stride = self.encoder.divisor
        channels = self.encoder.channels[-4:]
        finest = self.encoder.strides[-4]

        self.decoder = nn.ModuleList(LinkDecoder(channels[i], channels[i - 1], 2) for i in (3, 2, 1))
        self.decoder.append(LinkDecoder(channels[0], channels[0], 1))
        kaiming(self.decoder)
        self.adds_stem = self.encoder.channels[:-4][-1:] == channels[:1] and self.encoder.strides[-5] * 2 == finest
        last = nn.ConvTranspose2d(32, classes, 2, stride=2)
        self.tail = nn.Sequential(
            deconvolution(channels[0], 32, 3, finest // 2),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            conv_bn_relu(32, 32, bias=True),
            start_undecided(last),
        )
        kaiming(self.tail[3])
        self.add_heads(DeepestHeads.model_validate(heads), Offer(channels[3], classes, head_channels))

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """The encoder's features, from fine to coarse, to what leaves each decoder block, from coarse to fine."""
        skips: list[Tensor | None] = [*features[-2:-5:-1], None]
        if self.adds_stem:
            skips[3] = F.max_pool2d(features[-5], 3, 2, padding=1)
        x, levels = features[-1], []
        for block, skip in zip(self.decoder, skips):
            x = block(x)
            if skip is not None:
                x = torch.relu(x + skip)
            levels.append(x)
        return levels
