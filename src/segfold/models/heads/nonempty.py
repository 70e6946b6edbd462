"""A second pixel head, to be trained on the images that are not empty."""

from typing import ClassVar

from segfold.models.heads.base import Need, Of, Offer
from segfold.models.heads.pixel import PixelHead


class NonemptyHead(PixelHead):
    """A second pixel head, to be trained on images that are not empty.

    As the main one, but without the image head's feature; the fourth place of TGS salt had one (SeuTao).
    """

    of: ClassVar[Of] = "pixels"
    needs: ClassVar[Need] = "levels"
    in_inference = False

    def __init__(self, offer: Offer) -> None:
        super().__init__(offer.levels, offer.classes, offer.form, offer.hidden, offer.dropout)
