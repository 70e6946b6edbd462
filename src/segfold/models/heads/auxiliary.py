"""Logits of a feature midway, which in training bring gradients to where the loss is far."""

from typing import ClassVar

from torch import Tensor

from segfold.errors import SegfoldError
from segfold.models.blocks import resize
from segfold.models.fcn_head import FCNHead
from segfold.models.heads.base import Features, Need, Of, Offer


class AuxiliaryHead(FCNHead):
    """Logits of a feature midway through the network, in training only.

    One 3×3 convolution to ``hidden`` channels, batch norm, ReLU, dropout, 1×1; then bilinear to the size of the logits.

    Raises:
        SegfoldError: no hidden channels.

    Reference:
        mmsegmentation's ``auxiliary_head``, whose loss weighs 0.4 there.
    """

    of: ClassVar[Of] = "pixels"
    needs: ClassVar[Need] = "middle"
    in_inference = False

    def __init__(self, offer: Offer) -> None:
        if offer.hidden < 1:
            raise SegfoldError(f"model.head_channels is {offer.hidden}; model.heads.auxiliary needs at least 1")
        super().__init__(offer.middle, offer.hidden, offer.classes, convs=1, dropout=offer.dropout)

    def forward(self, features: Features) -> Tensor:  # type: ignore[override]
        """N×classes×H×W at the size of the logits."""
        assert features.middle is not None
        return resize(super().forward(features.middle), features.size)
