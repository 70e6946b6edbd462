"""D-LinkNet: LinkNet on a larger pretrained ResNet, with cascaded dilated convolutions in the centre."""

from typing import Annotated

from annotated_types import MaxLen
from torch import Tensor, nn

from segfold.models.blocks import kaiming
from segfold.models.dblock import DBlock
from segfold.models.encoders import Encoder
from segfold.models.headed import NO_HEADS, DeepestHeads
from segfold.models.heads import Offer
from segfold.models.link_blocks import LinkDecoder, LinkForm, check_scales, deconvolution, start_undecided
from segfold.models.ranges import Channels, Dilation, EncoderOptions, HeadChannels


class DLinkNet(LinkForm):
    """D-LinkNet (Zhou et al., CVPR workshops 2018), winner of the DeepGlobe road extraction challenge.

    Unlike LinkNet, all four decoder blocks double the size, features are added without a ReLU, and the tail has no
    norms. The published networks give probabilities; this one gives logits.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: name of a timm model; ResNet34, 50 or 101 in the paper.
        weights: what the encoder starts from: ``imagenet``, ``none``, or a file.
        stem_pool: ``false`` removes the stem's max-pool: twice the resolution at four times the cost. The last
            decoder block then keeps the size.
        encoder_options: further arguments of timm's ``create_model``.
        dilations: dilations of the centre's convolutions in turn; 1, 2, 4, 8 with ResNet34 and also 16 with ResNet50 and 101, for
            images of 1024². None at all is the paper's LinkNet34.
        centre_channels: channels to which a 1×1 convolution brings the deepest feature before the centre. Without it the
            centre of a ResNet50 alone has 189 million parameters.
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
        encoder: str = "resnet34",
        weights: str = "imagenet",
        stem_pool: bool = True,
        encoder_options: EncoderOptions | None = None,
        dilations: Annotated[tuple[Dilation, ...], MaxLen(16)] = (1, 2, 4, 8),
        centre_channels: Channels | None = None,
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, in_channels, weights, stem_pool, options=encoder_options)
        check_scales(self.encoder, encoder)
        self.in_channels = in_channels
        self.stride = self.encoder.divisor
        channels = list(self.encoder.channels[-4:])
        self.add_heads(DeepestHeads.model_validate(heads), Offer(channels[3], classes, head_channels))

        self.reduce = nn.Sequential()
        if centre_channels is not None:
            self.reduce.append(nn.Conv2d(channels[3], centre_channels, 1, bias=False))
            self.reduce.append(nn.BatchNorm2d(centre_channels)).append(nn.ReLU(inplace=True))
            channels[3] = centre_channels
        self.centre = DBlock(channels[3], dilations) if dilations else nn.Identity()
        self.decoder = nn.ModuleList(LinkDecoder(channels[i], channels[i - 1], 2) for i in (3, 2, 1))
        self.decoder.append(LinkDecoder(channels[0], channels[0], self.encoder.strides[-4] // 2))
        self.tail = nn.Sequential(
            deconvolution(channels[0], 32, 4, 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            start_undecided(nn.Conv2d(32, classes, 3, padding=1)),
        )
        for part in (self.reduce, self.decoder, self.tail[2]):
            kaiming(part)

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """The encoder's features, from fine to coarse, to what leaves each decoder block, from coarse to fine."""
        x, levels = self.centre(self.reduce(features[-1])), []
        for block, skip in zip(self.decoder, [*features[-2:-5:-1], None]):
            x = block(x)
            if skip is not None:
                x = x + skip
            levels.append(x)
        return levels
