"""From what a network has computed to logits: the main pixel head, and a family of further heads by name.

A further head is a class as ``Head`` says. It is listed in ``_PLACES``, from which ``HEADS`` is made; its name there is
that of its switch in ``model.heads``, of its weight in ``loss.heads``, of its logits in ``Output.heads``, and of its
module in the network. Heads are built in this order, in which their first weights are drawn: a new one stands last.
"""

from pkgutil import resolve_name

from segfold.models.heads.auxiliary import AuxiliaryHead
from segfold.models.heads.base import Features, Form, Head, Need, Of, Offer, last_layer
from segfold.models.heads.image import ImageHead
from segfold.models.heads.levels import LevelHeads
from segfold.models.heads.pixel import PixelHead, hypercolumn

_PLACES = {
    "nonempty": "nonempty:NonemptyHead",
    "levels": "levels:LevelHeads",
    "image": "image:ImageHead",
    "auxiliary": "auxiliary:AuxiliaryHead",
}
"""A head's name in settings, its file in this folder, and its class there."""

HEADS: dict[str, type[Head]] = {name: resolve_name(f"{__name__}.{place}") for name, place in _PLACES.items()}


def head_summary(name: str) -> str:
    """What the head gives, the first line of its class."""
    return (HEADS[name].__doc__ or "").strip().splitlines()[0]


__all__ = [
    "HEADS",
    "AuxiliaryHead",
    "Features",
    "Form",
    "Head",
    "ImageHead",
    "LevelHeads",
    "Need",
    "Of",
    "Offer",
    "PixelHead",
    "head_summary",
    "hypercolumn",
    "last_layer",
]
