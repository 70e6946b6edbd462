"""Networks: raw pixels in, an ``Output`` of logits out.

A model is a class with keyword-only, typed, defaulted arguments beside ``in_channels`` and ``classes``, which
come from the data. It is listed in ``_PLACES``, from which ``MODELS`` is made; its signature is its settings' schema.
"""

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from torch import nn

from segfold.models.heads import HEADS
from segfold.models.output import Output
from segfold.models.unet import UNet
from segfold.schema import build

_PLACES = {
    "unet": "unet:UNet",
    "linknet": "linknet:LinkNet",
    "dlinknet": "dlinknet:DLinkNet",
    "fc_densenet": "fc_densenet:FCDenseNet",
    "frrn": "frrn:FRRN",
    "gcn": "gcn:GCN",
    "deconvnet": "deconvnet:DeconvNet",
    "fcn": "fcn:FCN",
    "fcn_dilated": "fcn_dilated:FCNDilated",
    "fcn_skips": "fcn_skips:FCNSkips",
    "unet_original": "unet_original:OriginalUNet",
    "unet_s5_d16": "unet_s5_d16:UNetS5D16",
}
"""A model's name in settings, its file in this folder, and its class there."""

MODELS: dict[str, type[nn.Module]] = {name: resolve_name(f"{__name__}.{place}") for name, place in _PLACES.items()}

__all__ = ["HEADS", "MODELS", "Output", "UNet", "build_model", "margin_of", "sides_of"]


def build_model(name: str, in_channels: int, classes: int, **settings: Any) -> nn.Module:
    """The model ``MODELS[name]``; ``weights="none"`` builds it for weights that are loaded afterwards.

    Raises:
        SegfoldError: a setting is out of range, or some do not go together.
    """
    return build("model", MODELS[name], settings, in_channels=in_channels, classes=classes)


def margin_of(name: str, settings: Mapping[str, Any]) -> int:
    """Pixels on each side of its input that the model ``MODELS[name]`` sees and says nothing of.

    A model whose output is smaller than its input (valid convolutions), or that cuts off what lies too near to its border,
    has a static method ``margin`` that takes its settings; its logits are as much smaller than what it is given.
    """
    says = getattr(MODELS[name], "margin", None)
    return 0 if says is None else int(says(**settings))


def sides_of(name: str, settings: Mapping[str, Any]) -> tuple[int, int]:
    """The least height or width that the model ``MODELS[name]`` takes, and what further ones differ by.

    A model of which that follows from its settings, and is not told by multiples of its stride, has a static method ``sides``
    that takes them; of any other, (1, 1): what it refuses it says when it is shown it.
    """
    says = getattr(MODELS[name], "sides", None)
    return (1, 1) if says is None else says(**settings)
