"""Logits of every decoder level."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from segfold.models.blocks import conv_bn_relu, kaiming, upsample
from segfold.models.heads.base import Features, Need, Of, Offer, last_layer


class LevelHeads(nn.Module):
    """Logits of every decoder level, each upsampled (deep supervision).

    Dropout, conv-BN-ReLU and 1×1 on each level; ``hidden`` 0 leaves the 1×1 alone.
    """

    of: ClassVar[Of] = "pixels"
    needs: ClassVar[Need] = "levels"
    in_inference = False

    def __init__(self, offer: Offer) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        for inputs in offer.levels:
            hidden = [conv_bn_relu(inputs, offer.hidden, offer.bias)] if offer.hidden else []
            head = nn.Sequential(nn.Dropout2d(offer.dropout), *hidden)
            kaiming(head)
            self.heads.append(head.append(last_layer(offer.hidden or inputs, offer.classes)))

    def forward(self, features: Features) -> Tensor:
        """N×S×classes×H×W at the input's size, the S levels from fine to coarse."""
        maps = zip(self.heads, features.levels)
        return torch.stack([upsample(head(x), features.stride * 2**i) for i, (head, x) in enumerate(maps)], dim=1)
