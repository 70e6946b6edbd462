"""Pixel logits of the decoder's levels: the main head's module, and what other pixel heads may use."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segfold.models.blocks import upsample
from segfold.models.heads.base import Features, Form, last_layer


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
        feature: length of the image head's feature, where the logits see it as well; 0 where they do not.
    """

    def __init__(
        self, channels: Sequence[int], classes: int, form: Form, hidden: int, dropout: float, feature: int = 0
    ) -> None:
        super().__init__()
        self.form = form
        self.sees_image = feature > 0
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

    def forward(self, features: Features) -> Tensor:
        """N×classes×H×W at the input's size."""
        feature = features.image if self.sees_image else None
        return upsample(self._logits(features.levels, feature), features.stride)

    def _logits(self, levels: Sequence[Tensor], feature: Tensor | None) -> Tensor:
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
