"""What every head has in common: what it is built from, what it sees, and how its last layer starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor, nn

Of = Literal["pixels", "image"]
Form = Literal["finest", "factorised", "concat"]
Need = Literal["deepest", "levels", "middle"]
"""What a head sees of a network: the deepest feature, which all have, the decoder's levels, or a feature midway."""


@dataclass(frozen=True)
class Offer:
    """What a network offers its heads to be built from.

    Attributes:
        deepest: channels of the encoder's deepest feature.
        classes: logits a pixel.
        hidden: channels within a head, ``model.head_channels``; 0 for none.
        levels: channels of the decoder's levels, from fine to coarse; empty where a network has none.
        middle: channels of the feature midway that an auxiliary head sees; 0 where a network has none.
        dropout: share of channels dropped in training.
        bias: whether convolutions before a batch norm have one.
        form: of the pixel heads, see ``PixelHead``.
    """

    deepest: int
    classes: int
    hidden: int
    levels: tuple[int, ...] = ()
    dropout: float = 0.0
    bias: bool = False
    form: Form = "finest"
    middle: int = 0


class Features(NamedTuple):
    """What a network has computed of a batch when its heads run; in its channels as in ``Offer``."""

    deepest: Tensor
    """N×C×h×w, the encoder's."""
    levels: Sequence[Tensor] = ()
    """From fine to coarse, each half the size of the one before; the finest is N×C×(H/stride)×(W/stride)."""
    stride: int = 1
    """Of the finest level."""
    image: Tensor | None = None
    """N×F×1×1, the image head's feature, where it is already there."""
    middle: Tensor | None = None
    """N×C×h×w, of an encoder stage or a decoder level, where the network has an auxiliary head."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the logits, for heads that need them beside ``middle``."""


class Head(Protocol):
    """A module beside the main head that gives further logits.

    Attributes:
        of: ``pixels`` gives N×C×H×W at the input's size, or N×S×C×H×W for several maps whose losses add up; ``image``
            gives N×1, above 0 where the mask is not empty. The stage's loss goes by the shape.
        needs: what a network must have for it.
        in_inference: whether it is computed in eval mode too.
    """

    of: ClassVar[Of]
    needs: ClassVar[Need]
    in_inference: ClassVar[bool]

    def __init__(self, offer: Offer) -> None: ...

    def __call__(self, features: Features) -> Tensor:
        """Logits, see ``of``."""
        ...


def last_layer(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """1×1 convolution that starts with logits near zero: probabilities of one half, no confident mistakes."""
    layer = nn.Conv2d(inputs, outputs, 1, bias=bias)
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
