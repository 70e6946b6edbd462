"""The head of mmsegmentation's FCN, under the names that its checkpoints give it."""

import torch
from torch import Tensor, nn

from segfold.models.blocks import kaiming
from segfold.models.heads.base import last_layer


class ConvBNReLU(nn.Module):
    """Convolution that keeps the size, batch norm and ReLU; its tensors are called ``conv`` and ``bn``.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: odd.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        kaiming(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×outputs×H×W."""
        return torch.relu_(self.bn(self.conv(x)))


class FCNHead(nn.Module):
    """Logits of one feature, at its own size: 3×3 convolutions, dropout of whole channels, 1×1 with bias.

    Args:
        inputs: channels of the feature.
        hidden: channels of the convolutions.
        classes: logits a pixel.
        convs: how many.
        joins_input: concatenates the feature and what the convolutions make of it, and brings both to ``hidden`` by one more.
        dropout: share of channels dropped in training.

    Reference:
        mmsegmentation's ``FCNHead``, there ``num_convs`` and ``concat_input``.
    """

    def __init__(
        self, inputs: int, hidden: int, classes: int, convs: int, joins_input: bool = False, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(ConvBNReLU(hidden if i else inputs, hidden) for i in range(convs)))
        self.conv_cat = ConvBNReLU(inputs + hidden, hidden) if joins_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = last_layer(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×classes×H×W."""
        y = self.convs(x)
        if self.conv_cat is not None:
            y = self.conv_cat(torch.cat([x, y], dim=1))
        logits: Tensor = self.conv_seg(self.dropout(y))
        return logits
