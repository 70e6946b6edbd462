"""Sizes that a network does not take, or gives otherwise than its model says, are refused before it is shown data."""

import pytest
import torch
from torch import Tensor, nn

from segfold.data.geometry.sizing import Sizing
from segfold.data.geometry.view import Tiling, ViewPlan
from segfold.errors import SegfoldError
from segfold.inference.frames import check_frames
from segfold.models import Output, build_model


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return build_model("unet", 3, 1, encoder="resnet18", weights="none").train()


def refused(network: nn.Module, plan: ViewPlan) -> str:
    with pytest.raises(SegfoldError) as error:
        check_frames(network, plan, 3)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_scale_that_a_network_does_not_take_is_refused_with_those_that_it_takes(unet: nn.Module) -> None:
    said = refused(unet, ViewPlan(Sizing(128, 128), ("identity", "scale1.3")))
    assert said.startswith("predict.tta has scale1.3: the network's input is 166×166, but")
    assert said.endswith("; a scale of 1.25 or 1.5 would do")
    check_frames(unet, ViewPlan(Sizing(128, 128), ("identity", "scale1.25", "rot90-scale1.5")), 3)
    assert unet.training


def test_tiles_are_of_any_scale_but_of_a_size_that_the_network_takes(unet: nn.Module) -> None:
    check_frames(unet, ViewPlan(Sizing(128, 96), ("identity", "scale1.3", "rot90"), Tiling((128, 96), 0)), 3)
    assert refused(unet, ViewPlan(Sizing(100, 96), tiles=Tiling((100, 96), 0))).startswith(
        "predict.tiles: the network's"
    )


def test_a_network_gives_what_its_margin_leaves() -> None:
    class Valid(nn.Module):
        def forward(self, pixels: Tensor) -> Output:
            return Output(pixels[..., 3:-3, 3:-3].float()[:, :1])

    check_frames(Valid(), ViewPlan(Sizing(32, 48, margin=3), ("identity", "transpose")), 3)
    said = refused(Valid(), ViewPlan(Sizing(32, 48)))
    assert said == ("prediction: the network gives 26×42 for an input of 32×48, and its model says that it gives 32×48")
    assert torch.get_default_device().type == "cpu"
