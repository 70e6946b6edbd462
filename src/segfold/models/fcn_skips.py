"""FCN-8s' skips on any encoder: scores of three scales, summed from the coarsest to the finest."""

from typing import Literal

from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models.blocks import upsample
from segfold.models.deconvolution import bilinear_deconvolution
from segfold.models.encoders import Encoder
from segfold.models.headed import NO_HEADS, DeepestHeads, Headed
from segfold.models.heads import Features, Offer, last_layer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels
from segfold.models.ranges import EncoderOptions, HeadChannels


class FCNSkips(Headed):
    """Skips of FCN-8s (Long et al., arXiv 1411.4038) on any encoder with features at strides 8, 16 and 32.

    A 1×1 convolution scores the classes at each stride. The coarser sum is doubled by a transposed convolution that starts as
    bilinear interpolation, and the finer score is added; scores of the finer scales start at zero.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: name of a timm model.
        weights: what the encoder starts from: ``imagenet``, ``none``, or a file.
        encoder_options: further arguments of timm's ``create_model``.
        finest: stride of the finest score: 8, 16 and 32 are FCN-8s, -16s and -32s. A run with a finer one can start from
            one with a coarser by ``init``.
        last: how the finest sum comes to the input's size: ``bilinear``, or a ``deconvolution`` that starts as that and learns.
        heads: further heads on the deepest feature.
        head_channels: channels within the heads.

    Attributes:
        stride: height and width of the input must be multiples of it.

    Raises:
        SegfoldError: an encoder without these scales.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        encoder: str = "resnet34",
        weights: str = "imagenet",
        encoder_options: EncoderOptions | None = None,
        finest: Literal[8, 16, 32] = 8,
        last: Literal["bilinear", "deconvolution"] = "bilinear",
        heads: DeepestHeads = NO_HEADS,
        head_channels: HeadChannels = 64,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, in_channels, weights, options=encoder_options)
        strides = [stride for stride in (32, 16, 8) if stride >= finest]
        channels = dict(zip(self.encoder.strides, self.encoder.channels))
        if missing := [stride for stride in strides if stride not in channels]:
            raise SegfoldError(
                f"encoder {encoder} gives features at strides {', '.join(map(str, self.encoder.strides))}; the skips need "
                f"{', '.join(map(str, missing))} as well; set model.finest to a coarser one or choose another, such as resnet34"
            )
        self.in_channels = in_channels
        self.stride = self.encoder.divisor
        self.finest = finest
        scores = {stride: last_layer(channels[stride], classes) for stride in strides}
        for stride in strides[1:]:
            nn.init.zeros_(scores[stride].weight)
        self.scores = nn.ModuleDict({str(stride): score for stride, score in scores.items()})
        self.doublings = nn.ModuleDict({str(s): bilinear_deconvolution(classes, 4, 2, padding=1) for s in strides[1:]})
        self.last = (
            bilinear_deconvolution(classes, 2 * finest, finest, padding=finest // 2)
            if last == "deconvolution"
            else None
        )
        self.add_heads(DeepestHeads.model_validate(heads), Offer(channels[32], classes, head_channels))

    def decode(self, features: list[Tensor]) -> Tensor:
        """The encoder's features, from fine to coarse, to the summed scores at stride ``finest``."""
        by_stride = dict(zip(self.encoder.strides, features))
        total: Tensor = self.scores["32"](by_stride[32])
        for stride, double in self.doublings.items():
            total = double(total) + self.scores[stride](by_stride[int(stride)])
        return total

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is not a multiple of ``stride``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, self.stride, self.encoder.only_size)
        features = self.encoder(pixels)
        total = self.decode(features)
        logits = upsample(total, self.finest) if self.last is None else self.last(total)
        return Output(logits, self.head_logits(Features(features[-1])))
