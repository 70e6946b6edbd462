"""Networks: raw pixels in, an ``Output`` of logits out.

A model is a class with keyword-only, typed, defaulted arguments beside ``in_channels`` and ``classes``, which
come from the data. It is listed in ``MODELS``; its signature is its settings' schema.
"""

from typing import Any

from torch import nn

from segfold.models.output import Output
from segfold.models.unet import Heads, UNet

MODELS: dict[str, type[nn.Module]] = {"unet": UNet}

__all__ = ["MODELS", "Heads", "Output", "UNet", "build_model"]


def build_model(name: str, in_channels: int, classes: int, **settings: Any) -> nn.Module:
    """The model ``MODELS[name]``; ``weights="none"`` builds it for weights that are loaded afterwards."""
    return MODELS[name](in_channels=in_channels, classes=classes, **settings)
