"""The U-Net of the TGS salt solutions, on any encoder."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models.blocks import (
    Attention,
    Combine,
    DecoderBlock,
    StageNumber,
    Stages,
    attention_block,
    chosen_stages,
    kaiming,
)
from segfold.models.centres import CENTRES, PLAIN_CHANNELS, CentreChoice, build_centre
from segfold.models.encoders import Encoder
from segfold.models.headed import Headed, head_switches
from segfold.models.heads import Features, Form, ImageHead, Offer, PixelHead
from segfold.models.object_context import BaseOC
from segfold.models.output import Output
from segfold.models.pixels import check_pixels
from segfold.models.ranges import Channels, Dropout, EncoderOptions, HeadChannels
from segfold.schema import Settings

if TYPE_CHECKING:
    Heads: TypeAlias = Settings
else:
    Heads = head_switches(
        "Heads", ("levels", "middle"), further={"fuse_image": "The main pixel head sees the image head's feature."}
    )
NO_HEADS = Heads()


class UNet(Headed):
    """U-Net (Ronneberger et al., arXiv 1505.04597) with a pretrained encoder and the parts that won TGS salt.

    The decoder goes up by factors of two; each block concatenates the encoder's feature of its size, if there
    is one. Logits always have the size of the input.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: name of a timm model.
        weights: what the encoder starts from: ``imagenet``, ``none``, or a file.
        stem_pool: ``false`` removes the stem's max-pool: twice the resolution at four times the cost.
        encoder_options: further arguments of timm's ``create_model``, such as ``drop_path_rate``.
        encoder_attention: gate after the encoder's stages.
        encoder_attention_stages: the encoder's stages that are gated: ``all``, or numbers of its features from 1, the
            finest.
        attention: gate after the decoder's blocks.
        attention_stages: the decoder's blocks that are gated: ``all``, or numbers from 1, the finest.
        attention_combine: how scSE joins its two gated maps.
        reduction: factor by which the channel gates narrow their channels inside; 2 in the paper, 16 in most Kaggle code.
        decoder_channels: channels of every block of the decoder, or of each block from the deepest.
        decoder_hidden: between a block's two convolutions as many channels as it gives (``out``), or as its
            skip has (``skip``; half of ``out`` where there is none).
        finest_stride: the decoder stops at this stride and the logits are upsampled from there. 2 leaves out
            the block at full resolution, the dearest on a CPU.
        decoder_context: numbers of the decoder's blocks, from 1, the finest, that have base-OC between their two
            convolutions. Its time grows with the fourth power of the side. The ninth place of TGS salt had it in
            its decoder before a block doubles the size, for a sixteenth of that.
        centre: between encoder and decoder: ``none``, ``plain`` (two convolutions and a max-pool), or one of
            ``dblock``, ``base_oc``, ``pyramid_oc``, ``asp_oc``, ``psp`` and ``fpa``, perhaps with its settings.
        centre_skip: with a centre that halves the size, the first decoder block sees the encoder's deepest feature
            as well.
        centre_channels: channels of ``plain``'s two convolutions; no other centre has them.
        hypercolumn: logits from all decoder levels: ``factorised`` (or true) by one 1×1 convolution,
            ``concat`` by 3×3, ReLU, 1×1; false from the finest level alone.
        heads: further heads beside the main one, each to be weighed by a stage's loss.
        head_channels: channels of the 3×3 convolutions in the heads and of the image head's feature; 0 leaves the
            heads of ``levels`` without a 3×3.
        dropout: share of channels dropped, in decoder blocks and before heads, in training only.
        conv_bias: convolutions have biases before batch norms, which undo them, in the decoder and in ``plain``;
            SeuTao's published networks have them.

    Attributes:
        stride: height and width of the input must be multiples of it.
    """

    image: ImageHead

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        encoder: str = "resnet34",
        weights: str = "imagenet",
        stem_pool: bool = True,
        encoder_options: EncoderOptions | None = None,
        encoder_attention: Attention = "none",
        encoder_attention_stages: Stages = "all",
        attention: Attention = "none",
        attention_stages: Stages = "all",
        attention_combine: Combine = "sum",
        reduction: Channels = 16,
        decoder_channels: Channels | tuple[Channels, ...] = 64,
        decoder_hidden: Literal["out", "skip"] = "out",
        finest_stride: Literal[1, 2, 4] = 1,
        decoder_context: tuple[StageNumber, ...] = (),
        centre: Annotated[CentreChoice, CENTRES] = "none",
        centre_skip: bool = True,
        centre_channels: tuple[Channels, Channels] = PLAIN_CHANNELS,
        hypercolumn: bool | Literal["factorised", "concat"] = False,
        heads: Heads = NO_HEADS,
        head_channels: HeadChannels = 64,
        dropout: Dropout = 0.0,
        conv_bias: bool = False,
    ) -> None:
        super().__init__()
        switches: Any = Heads.model_validate(heads)
        form: Form = "finest" if hypercolumn is False else "factorised" if hypercolumn is True else hypercolumn
        if switches.fuse_image and not switches.image:
            raise SegfoldError("model.heads.fuse_image needs the image head's feature; set model.heads.image=true")
        if head_channels < 1 and form == "concat":
            raise SegfoldError(f"model.head_channels is {head_channels}; model.hypercolumn=concat needs at least 1")

        self.encoder = Encoder(
            encoder,
            in_channels,
            weights,
            stem_pool,
            encoder_attention,
            reduction,
            attention_combine,
            encoder_options,
            encoder_attention_stages,
        )
        self.in_channels = in_channels
        self.finest_stride = finest_stride
        skips = dict(zip(self.encoder.strides, self.encoder.channels))
        stride, below = self.encoder.strides[-1], self.encoder.channels[-1]
        self.stride = self.encoder.divisor
        made = build_centre(centre, below, centre_channels, conv_bias)
        self.centre = made.module
        below = made.channels
        if made.halves:
            if not centre_skip:
                del skips[stride]
            stride *= 2
            self.stride = math.lcm(self.stride, stride)

        # One block a halving, from the deepest stride to the finest.
        self._strides = [2**i for i in range(stride.bit_length() - 2, finest_stride.bit_length() - 2, -1)]
        widths = self._widths(decoder_channels, encoder)
        owner = f"the decoder of {encoder}"
        gated = chosen_stages(attention_stages, len(widths), "attention_stages", owner)
        with_context = chosen_stages(decoder_context, len(widths), "decoder_context", owner)
        self.decoder = nn.ModuleList()
        for number, s, outputs in zip(range(len(widths), 0, -1), self._strides, widths):
            skip = skips.get(s, 0)
            hidden = outputs if decoder_hidden == "out" else skip or max(1, outputs // 2)
            kind = attention if number in gated else "none"
            gate = attention_block(kind, outputs, reduction, attention_combine)
            context = BaseOC(hidden, dropout=0.2) if number in with_context else None
            block = DecoderBlock(below, skip, hidden, outputs, gate, dropout, conv_bias, context)
            kaiming(block.conv1)
            kaiming(block.conv2)
            self.decoder.append(block)
            below = outputs
        self._uses_skip = [s in skips for s in self._strides]

        levels = tuple(widths[::-1])
        self.fuse_image = switches.fuse_image
        self.pixels = PixelHead(levels, classes, form, head_channels, dropout, head_channels if self.fuse_image else 0)
        deepest = self.encoder.channels[-1]
        self.add_heads(
            switches, Offer(deepest, classes, head_channels, levels, dropout, conv_bias, form, levels[:2][-1])
        )
        if made.drawn_last:
            kaiming(self.centre)

    def _widths(self, channels: int | tuple[int, ...], encoder: str) -> list[int]:
        count = len(self._strides)
        if isinstance(channels, int):
            return [channels] * count
        if len(channels) != count:
            raise SegfoldError(
                f"model.decoder_channels has {len(channels)} numbers, but the decoder of {encoder} has "
                f"{count} blocks here, at strides {', '.join(map(str, self._strides))}; give {count}, "
                "deepest first, or one for all"
            )
        return list(channels)

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """The encoder's features to the decoder's levels, both from fine to coarse."""
        by_stride = dict(zip(self.encoder.strides, features))
        x = self.centre(features[-1])
        levels = []
        for block, stride, uses_skip in zip(self.decoder, self._strides, self._uses_skip):
            x = block(x, by_stride[stride] if uses_skip else None)
            levels.append(x)
        return levels[::-1]

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is not a multiple of ``stride``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, self.stride, self.encoder.only_size)
        features = self.encoder(pixels)
        levels = self.decode(features)
        size = (pixels.shape[2], pixels.shape[3])
        seen = Features(features[-1], levels, self.finest_stride, middle=levels[:2][-1], size=size)
        if self.fuse_image:
            seen = seen._replace(image=self.image.feature(seen.deepest))
        heads = self.head_logits(seen, "image")
        logits = self.pixels(seen)
        return Output(logits, {**heads, **self.head_logits(seen, "pixels")})
