"""What LinkNet and D-LinkNet share: four encoder scales, the decoder block between two of them, the way through."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models.encoders import Encoder
from segfold.models.headed import Headed
from segfold.models.heads import Features
from segfold.models.output import Output
from segfold.models.pixels import check_pixels


def deconvolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    """Transposed convolution to exactly ``stride`` times the size, for kernels of at least the stride."""
    odd = (kernel - stride) % 2
    layer = nn.ConvTranspose2d(
        inputs, outputs, kernel, stride, padding=(kernel - stride + odd) // 2, output_padding=odd
    )
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # 2 / (k² · outputs), as in LinkNet's code
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class LinkDecoder(nn.Module):
    """LinkNet's decoder block: 1×1 to a quarter of the channels, 3×3 transposed, 1×1; each with norm and ReLU.

    Args:
        inputs: channels from below.
        outputs: channels of the result.
        stride: how many times larger the result is, 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = max(1, inputs // 4)
        self.squeeze = _norm_relu(nn.Conv2d(inputs, hidden, 1), hidden)
        self.enlarge = _norm_relu(deconvolution(hidden, hidden, 3, stride), hidden)
        self.expand = _norm_relu(nn.Conv2d(hidden, outputs, 1), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×outputs×(stride·H)×(stride·W)."""
        return self.expand(self.enlarge(self.squeeze(x)))


def _norm_relu(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def start_undecided(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """``layer`` with logits near zero at the start, as ``heads.last_layer``."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def check_scales(encoder: Encoder, name: str) -> None:
    """Refuses encoders without four successive scales, the coarsest of them, that begin at stride 2 or 4.

    Raises:
        SegfoldError: the scales that ``name`` has instead.
    """
    strides = encoder.strides[-4:]
    if len(strides) < 4 or strides[0] not in (2, 4) or strides != tuple(strides[0] * 2**i for i in range(4)):
        raise SegfoldError(
            f"encoder {name} gives features at strides {', '.join(map(str, encoder.strides))}; this decoder "
            "needs the last four to be 4, 8, 16, 32 (or 2, 4, 8, 16); choose another, such as resnet34"
        )


class LinkForm(Headed, ABC):
    """Encoder, decoder blocks, tail; the two networks differ in how they decode."""

    in_channels: int
    stride: int
    encoder: Encoder
    tail: nn.Module

    @abstractmethod
    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """The encoder's features, from fine to coarse, to what leaves each decoder block, from coarse to fine."""

    def forward(self, pixels: Tensor) -> Output:
        """Pixels N×in_channels×H×W in 0..255, uint8 or float, to logits of the same H and W.

        Raises:
            SegfoldError: height or width is not a multiple of ``stride``, or the channels are others.
        """
        check_pixels(pixels, self.in_channels, self.stride, self.encoder.only_size)
        features = self.encoder(pixels)
        heads = self.head_logits(Features(features[-1]))
        return Output(self.tail(self.decode(features)[-1]), heads)
