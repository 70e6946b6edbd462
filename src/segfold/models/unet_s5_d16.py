"""UNet-S5-D16 of mmsegmentation, under the names that its checkpoints give their tensors."""

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from segfold.models import checkpoints
from segfold.models.fcn_head import ConvBNReLU, FCNHead
from segfold.models.headed import NO_AUXILIARY, AuxiliaryHeads, Headed
from segfold.models.heads import Features, Offer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels, plain_input
from segfold.models.ranges import Dropout, HeadChannels
from segfold.paths import user_path

_STAGES = 5


class ConvBlock(nn.Module):
    """Two 3×3 convolutions that keep the size, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvBNReLU(inputs, outputs), ConvBNReLU(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×outputs×H×W."""
        y: Tensor = self.convs(x)
        return y


class InterpConv(nn.Module):
    """Bilinear ×2, then a 1×1 convolution with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        doubled = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.interp_upsample = nn.Sequential(doubled, ConvBNReLU(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×outputs×2H×2W."""
        y: Tensor = self.interp_upsample(x)
        return y


class UpConvBlock(nn.Module):
    """Upsampling that halves the channels, concatenation behind the skip, two convolutions.

    Args:
        inputs: channels from below.
        outputs: channels of the skip and of the result.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_block = ConvBlock(2 * outputs, outputs)
        self.upsample = InterpConv(inputs, outputs)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """N×outputs×2H×2W and N×inputs×H×W to N×outputs×2H×2W."""
        y: Tensor = self.conv_block(torch.cat([skip, self.upsample(x)], dim=1))
        return y


class Backbone(nn.Module):
    """Encoder of five stages, decoder of four; ``decoder[0]`` is the finest."""

    def __init__(self, in_channels: int, base: int) -> None:
        super().__init__()
        widths = [base << i for i in range(_STAGES)]
        self.encoder = nn.ModuleList([nn.Sequential(ConvBlock(in_channels, base))])
        self.decoder = nn.ModuleList()
        for finer, coarser in pairwise(widths):
            self.encoder.append(nn.Sequential(nn.MaxPool2d(2), ConvBlock(finer, coarser)))
            self.decoder.append(UpConvBlock(coarser, finer))

    def forward(self, x: Tensor) -> list[Tensor]:
        """N×C×H×W to five features from coarse to fine: the encoder's last, then what each decoder stage gives."""
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        found = [x]
        for stage, skip in zip(reversed(self.decoder), skips[-2::-1]):
            x = stage(skip, x)
            found.append(x)
        return found


class UNetS5D16(Headed):
    """UNet-S5-D16 of mmsegmentation: a padded, batch-normed U-Net of five stages and a head of its FCN.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        base_channels: channels of the first stage and of the head; each stage below has twice as many.
        weights: what the network starts from: ``none``, or a file of this architecture; its last layers are taken where
            it has as many classes.
        heads: further heads; ``auxiliary`` sees the decoder's second finest stage.
        head_channels: channels within them, 64 in the published one.
        dropout: share of channels dropped before the last layers, in training only.

    Attributes:
        stride: height and width of the input must be multiples of it.

    Reference:
        mmsegmentation's ``fcn_unet_s5-d16``; after Ronneberger et al., arXiv 1505.04597.
    """

    head_places: ClassVar = {"auxiliary": "auxiliary_head"}

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        base_channels: Annotated[int, Ge(1), Le(512)] = 64,
        weights: str = "none",
        heads: AuxiliaryHeads = NO_AUXILIARY,
        head_channels: HeadChannels = 64,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = 2 ** (_STAGES - 1)
        self.input = plain_input(in_channels)
        self.backbone = Backbone(in_channels, base_channels)
        self.decode_head = FCNHead(base_channels, base_channels, classes, convs=1, dropout=dropout)
        deepest = base_channels * self.stride
        offer = Offer(deepest, classes, head_channels, dropout=dropout, middle=2 * base_channels)
        self.add_heads(AuxiliaryHeads.model_validate(heads), offer)
        if weights != "none":
            checkpoints.fill(self, user_path(weights), needed=("backbone.",), also=("decode_head", "auxiliary_head"))

    @property
    def encoder(self) -> nn.ModuleList:
        """The five stages that go down."""
        return self.backbone.encoder

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is not a multiple of ``stride``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, self.stride)
        found = self.backbone(self.input(pixels))
        size = (pixels.shape[2], pixels.shape[3])
        heads = self.head_logits(Features(found[0], middle=found[-2], size=size))
        return Output(self.decode_head(found[-1]), heads)
