"""Numbers that no model can be built with are refused in one line that names the setting."""

from typing import Any

import pytest
import torch

from segfold.errors import SegfoldError
from segfold.models import build_model

UNET = {"encoder": "test_resnet", "weights": "none"}


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("unet", {"reduction": 0}, r"^model\.reduction\S*: Input should be .*, found 0"),
        ("unet", {"reduction": -1}, r"^model\.reduction\S*: Input should be .*, found -1"),
        ("unet", {"decoder_channels": 0}, r"^model\.decoder_channels\S*: Input should be .*, found 0"),
        ("unet", {"decoder_channels": (8, 8, 8, -8, 8)}, r"^model\.decoder_channels\S*: Input should be .*, found -8"),
        (
            "unet",
            {"centre": "plain", "centre_channels": (0, 8)},
            r"^model\.centre_channels\S*: Input should be .*, found 0",
        ),
        ("unet", {"centre": "psp", "centre_channels": (16, 8)}, "model.centre_channels is for centre plain, .* is psp"),
        (
            "unet",
            {"head_channels": -1, "heads": {"levels": True}},
            r"^model\.head_channels\S*: Input should be .*, found -1",
        ),
        ("unet", {"dropout": 1}, r"^model\.dropout\S*: Input should be .*, found 1"),
        ("unet", {"dropout": -0.1}, r"^model\.dropout\S*: Input should be .*, found -0.1"),
        (
            "unet",
            {"centre": {"base_oc": {"dropout": 2}}},
            r"^model\.centre.base_oc.dropout\S*: Input should be .*, found 2",
        ),
        (
            "unet",
            {"centre": {"pyramid_oc": {"dropout": 2}}},
            r"^model\.centre.pyramid_oc.dropout\S*: Input should be .*, found 2",
        ),
        (
            "unet",
            {"centre": {"asp_oc": {"dropout": 2}}},
            r"^model\.centre.asp_oc.dropout\S*: Input should be .*, found 2",
        ),
        ("unet", {"centre": {"fpa": {"width": 0}}}, r"^model\.centre.fpa.width\S*: Input should be .*, found 0"),
        ("dlinknet", {"centre_channels": 0}, r"^model\.centre_channels\S*: Input should be .*, found 0"),
        ("fc_densenet", {"dropout": 2}, r"^model\.dropout\S*: Input should be .*, found 2"),
    ],
)
def test_numbers_out_of_range(name: str, settings: dict[str, Any], said: str) -> None:
    with torch.device("meta"), pytest.raises(SegfoldError, match=said) as caught:
        build_model(name, 3, 1, **({} if name == "fc_densenet" else UNET), **settings)
    assert "\n" not in str(caught.value)
