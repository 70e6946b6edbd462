"""From decoder levels and encoder features to logits.

All take the decoder's levels from fine to coarse, each half the size of the one before; pixel logits have the
size of the finest.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from segfold.models.blocks import conv_bn_relu, kaiming, upsample

Form = Literal["finest", "factorised", "concat"]


def last_layer(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """1×1 convolution that starts with logits near zero: probabilities of one half, no confident mistakes."""
    layer = nn.Conv2d(inputs, outputs, 1, bias=bias)
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def hypercolumn(levels: Sequence[Tensor]) -> Tensor:
    """All levels upsampled to the finest and concatenated: N×ΣC×H×W (Hariharan et al., arXiv 1411.5752)."""
    return torch.cat([upsample(level, 2**i) for i, level in enumerate(levels)], dim=1)


class PixelHead(nn.Module):
    """Logits from the finest level, or from the hypercolumn of all levels.

    ``finest``: a 1×1 convolution of the finest level.
    ``factorised``: a 1×1 convolution of the hypercolumn. It commutes with upsampling, so each level is
    projected at its own size, upsampled, and summed: the same function for a fraction of the work.
    ``concat``: the hypercolumn itself, then 3×3 to ``hidden``, ReLU, 1×1 (the TGS form).

    Args:
        channels: of each level.
        classes: logits a pixel.
        form: one of the three above.
        hidden: channels of ``concat``'s 3×3 convolution.
        dropout: share of the levels' channels dropped in training.
        feature: length of an image-level feature that the logits see as well, 0 for none.
    """

    def __init__(
        self, channels: Sequence[int], classes: int, form: Form, hidden: int, dropout: float, feature: int = 0
    ) -> None:
        super().__init__()
        self.form = form
        self.dropout = nn.Dropout2d(dropout)
        if form == "concat":
            self.hidden = nn.Conv2d(sum(channels) + feature, hidden, 3, padding=1)
            nn.init.kaiming_normal_(self.hidden.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(self.hidden.bias)  # type: ignore[arg-type]
            self.last = last_layer(hidden, classes)
        else:
            used = channels[:1] if form == "finest" else channels
            self.levels = nn.ModuleList(last_layer(c, classes, bias=i == 0) for i, c in enumerate(used))
            self.feature = last_layer(feature, classes, bias=False) if feature else None

    def forward(self, levels: Sequence[Tensor], feature: Tensor | None = None) -> Tensor:
        """Levels N×C_s×H/2^s×W/2^s and perhaps a feature N×F×1×1 to N×classes×H×W."""
        if self.form == "concat":
            x = self.dropout(hypercolumn(levels))
            if feature is not None:
                x = torch.cat([x, feature.expand(-1, -1, *x.shape[2:])], dim=1)
            return self.last(torch.relu(self.hidden(x)))
        logits = self.levels[0](self.dropout(levels[0]))
        for i, project in enumerate(self.levels):
            if i > 0:
                logits = logits + upsample(project(self.dropout(levels[i])), 2**i)
        if feature is not None and self.feature is not None:
            logits = logits + self.feature(feature)
        return logits


class LevelHeads(nn.Module):
    """Logits of every decoder level for deep supervision: dropout, conv-BN-ReLU, 1×1, upsampled.

    Args:
        channels: of each level.
        classes: logits a pixel.
        hidden: channels of the 3×3 convolution; 0 leaves the 1×1 alone.
        dropout: share of channels dropped in training.
        bias: whether the 3×3 convolutions have one.
    """

    def __init__(self, channels: Sequence[int], classes: int, hidden: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        for inputs in channels:
            body = [nn.Dropout2d(dropout), *([conv_bn_relu(inputs, hidden, bias)] if hidden else [])]
            head = nn.Sequential(*body)
            kaiming(head)
            self.heads.append(head.append(last_layer(hidden or inputs, classes)))

    def forward(self, levels: Sequence[Tensor], factor: int = 1) -> Tensor:
        """N×S×classes×H×W, ``factor`` times the size of the finest level."""
        return torch.stack([upsample(h(x), factor * 2**i) for i, (h, x) in enumerate(zip(self.heads, levels))], dim=1)


class ImageHead(nn.Module):
    """Whether the mask is empty, from the mean of the encoder's deepest feature.

    Dropout, ``hidden`` channels, ReLU, then scores of "empty" and "not empty" like the published heads; their
    difference is the logit of one sigmoid.
    """

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        nn.init.kaiming_normal_(self.squeeze.weight, nonlinearity="relu")
        nn.init.zeros_(self.squeeze.bias)  # type: ignore[arg-type]
        self.scores = last_layer(hidden, 2)

    def forward(self, deepest: Tensor) -> tuple[Tensor, Tensor]:
        """N×C×h×w to the logit N×1 (above 0: not empty) and the image's feature N×hidden×1×1."""
        feature = torch.relu(self.squeeze(self.dropout(deepest.mean((2, 3), keepdim=True))))
        empty, nonempty = self.scores(feature).flatten(1).chunk(2, dim=1)
        return nonempty - empty, feature
