"""FCN without skips: dilations keep the encoder's last stages at the size that the head works on."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from torch import Tensor

from segfold.models.blocks import resize
from segfold.models.checkpoints import fill
from segfold.models.encoders import Encoder
from segfold.models.fcn_head import FCNHead
from segfold.models.headed import NO_AUXILIARY, AuxiliaryHeads, Headed
from segfold.models.heads import Features, Offer
from segfold.models.output import Output
from segfold.models.pixels import check_pixels
from segfold.models.ranges import Channels, Dropout, EncoderOptions, HeadChannels
from segfold.paths import user_path


class FCNDilated(Headed):
    """Dilated FCN: mmsegmentation's FCN-R50-d8 as it stands, or its head on any other encoder.

    The encoder's last stages have dilated convolutions instead of strides; of ``resnet50c`` the first block of a dilated
    stage has half the stage's rate. The head works on the deepest feature, and the logits are resized to the input.

    Args:
        in_channels: channels of the image.
        classes: logits a pixel.
        encoder: name of a timm model; ``resnet50c`` is mmsegmentation's ResNetV1c-50.
        weights: what the network starts from: ``none``, ``imagenet`` (the encoder, of those that timm has weights of), or a
            file: the encoder must be in it, the heads are taken where they are.
        output_stride: how many times smaller than the input the deepest feature is; 32 dilates nothing.
        encoder_options: further arguments of timm's ``create_model``.
        channels: channels of the head's convolutions.
        convs: 3×3 convolutions on the deepest feature.
        joins_input: one more convolution, on the deepest feature and what the others make of it.
        dropout: share of channels dropped before the heads' last layers, in training only.
        heads: further heads; ``auxiliary`` sees the last stage but one.
        head_channels: channels within the further heads.

    Attributes:
        stride: height and width of the input must be multiples of it.

    Raises:
        SegfoldError: an encoder that cannot be dilated to this stride.

    Reference:
        Long et al., arXiv 1411.4038; dilations instead of strides as in Yu and Koltun, arXiv 1511.07122.
    """

    head_places: ClassVar[Mapping[str, str]] = {"auxiliary": "auxiliary_head"}

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        encoder: str = "resnet50c",
        weights: str = "none",
        output_stride: Literal[8, 16, 32] = 8,
        encoder_options: EncoderOptions | None = None,
        channels: Channels = 512,
        convs: Annotated[int, Ge(1), Le(16)] = 2,
        joins_input: bool = True,
        dropout: Dropout = 0.1,
        heads: AuxiliaryHeads = NO_AUXILIARY,
        head_channels: HeadChannels = 256,
    ) -> None:
        super().__init__()
        dilated = {} if output_stride == 32 else {"output_stride": output_stride}
        self.encoder = Encoder(
            encoder, in_channels, weights, options={**(encoder_options or {}), **dilated}, every_stage=True
        )
        self.in_channels = in_channels
        self.stride = self.encoder.divisor
        middle, deepest = self.encoder.channels[-2:]
        self.decode_head = FCNHead(deepest, channels, classes, convs, joins_input, dropout)
        self.add_heads(
            AuxiliaryHeads.model_validate(heads), Offer(deepest, classes, head_channels, dropout=dropout, middle=middle)
        )
        if weights not in ("none", "imagenet"):
            fill(self, user_path(weights), also=("decode_head.", "auxiliary_head."))

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is not a multiple of ``stride``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, self.stride, self.encoder.only_size)
        features = self.encoder(pixels)
        size = (pixels.shape[2], pixels.shape[3])
        heads = self.head_logits(Features(features[-1], middle=features[-2], size=size))
        return Output(resize(self.decode_head(features[-1]), size), heads)
