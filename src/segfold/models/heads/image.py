"""Whether an image's mask is empty."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models.heads.base import Features, Need, Of, Offer, last_layer


class ImageHead(nn.Module):
    """One logit an image, above 0 where its mask is not empty, from the mean of the encoder's deepest feature.

    Dropout, ``hidden`` channels, ReLU, then scores of "empty" and "not empty" like the published heads; their
    difference is the logit of one sigmoid.

    Raises:
        SegfoldError: no hidden channels.
    """

    of: ClassVar[Of] = "image"
    needs: ClassVar[Need] = "deepest"
    in_inference = True

    def __init__(self, offer: Offer) -> None:
        super().__init__()
        if offer.hidden < 1:
            raise SegfoldError(f"model.head_channels is {offer.hidden}; model.heads.image needs at least 1")
        self.dropout = nn.Dropout(offer.dropout)
        self.squeeze = nn.Conv2d(offer.deepest, offer.hidden, 1)
        nn.init.kaiming_normal_(self.squeeze.weight, nonlinearity="relu")
        nn.init.zeros_(self.squeeze.bias)  # type: ignore[arg-type]
        self.scores = last_layer(offer.hidden, 2)

    def feature(self, deepest: Tensor) -> Tensor:
        """N×C×h×w to the image's feature, N×hidden×1×1."""
        return torch.relu(self.squeeze(self.dropout(deepest.mean((2, 3), keepdim=True))))

    def forward(self, features: Features) -> Tensor:
        """The logit N×1, above 0: not empty."""
        feature = self.feature(features.deepest) if features.image is None else features.image
        empty, nonempty = self.scores(feature).flatten(1).chunk(2, dim=1)
        return nonempty - empty
