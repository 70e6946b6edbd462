"""ResNet-GCN: its published size, where it strides, what its block computes, and its use as any encoder."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.models.encoders import Encoder
from segfold.models.resnet_gcn import GCNBottleneck


def classifier() -> nn.Module:
    with torch.device("meta"):
        return timm.create_model("resnet50_gcn").eval()


def test_the_classifier_has_the_published_size_and_is_as_dear_as_resnet50() -> None:
    network = classifier()
    assert sum(p.numel() for p in network.parameters()) == 22_545_780
    x = torch.empty(1, 3, 224, 224, device="meta")
    with FlopCounterMode(display=False) as ours:
        assert network(x).shape == (1, 1000)
    with torch.device("meta"), FlopCounterMode(display=False) as plain:
        timm.create_model("resnet50").eval()(x)
    assert 0.9 < ours.get_total_flops() / plain.get_total_flops() < 1


def test_the_last_two_stages_have_large_kernels() -> None:
    network = classifier()
    for stage, blocks, kernel, middle in ((network.layer3, 6, 5, 85), (network.layer4, 3, 7, 128)):
        assert len(stage) == blocks
        for block in stage:
            convs = [part for part in block.modules() if isinstance(part, nn.Conv2d)][:4]
            long, tall = (1, kernel), (kernel, 1)
            assert [conv.kernel_size for conv in convs] == [long, tall, tall, long]
            assert {conv.out_channels for conv in convs} == {middle}
    assert not any(isinstance(part, GCNBottleneck) for part in (*network.layer1, *network.layer2))
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == sum(isinstance(part, nn.Conv2d) for part in network.modules())  # none is shared


def test_each_convolution_strides_along_its_kernel() -> None:
    first = classifier().layer3[0]
    strides = [part.stride for part in first.modules() if isinstance(part, nn.Conv2d)]
    assert strides == [(1, 2), (2, 1), (2, 1), (1, 2), (1, 1), (2, 2)]


def test_a_block_is_its_branches_summed_beside_the_shortcut() -> None:
    torch.manual_seed(0)
    block = GCNBottleneck(1024, 256).eval()
    x = torch.randn(1, 1024, 6, 7)
    branches = sum(
        torch.relu(bn2(conv2(torch.relu(bn1(conv1(x))))))
        for conv1, bn1, _, conv2, bn2, _ in (list(block.left), list(block.right))
    )
    torch.testing.assert_close(block(x), torch.relu(x + block.bn3(block.conv3(branches))))
    block.zero_init_last()
    assert torch.equal(block(x), torch.relu(x))


@pytest.mark.parametrize(
    ("settings", "strides"),
    [({}, (2, 4, 8, 16, 32)), ({"options": {"output_stride": 8}, "every_stage": True}, (2, 4, 8, 8, 8))],
)
def test_it_is_an_encoder_like_any_other(settings: dict[str, object], strides: tuple[int, ...]) -> None:
    with torch.device("meta"):
        encoder = Encoder("resnet50_gcn", 3, **settings)  # type: ignore[arg-type]
        features = encoder(torch.empty(1, 3, 96, 64))
    assert encoder.strides == strides and encoder.channels == (64, 256, 512, 1024, 2048)
    assert [tuple(x.shape[2:]) for x in features] == [(96 // s, 64 // s) for s in strides]


@pytest.mark.parametrize("name", ["unet", "linknet", "gcn"])
def test_models_take_it_by_name(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, 1, 2, encoder="resnet50_gcn", weights="none", stem_pool=False)
        assert model(torch.empty(2, 1, 64, 96)).logits.shape == (2, 2, 64, 96)


def test_weights_come_from_a_file_alone(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match=r"no pretrained weights of resnet50_gcn; set model\.weights=none or"):
        Encoder("resnet50_gcn", 3, "imagenet")
    torch.manual_seed(0)
    network = timm.create_model("resnet50_gcn")
    torch.save(network.state_dict(), tmp_path / "own.pth")
    encoder = Encoder("resnet50_gcn", 3, str(tmp_path / "own.pth"))
    assert torch.equal(encoder.net.layer4[0].left[0].weight, network.layer4[0].left[0].weight)


def test_variants_that_it_has_no_form_for_are_refused() -> None:
    with pytest.raises(SegfoldError, match=r"resnet50_gcn with encoder_options \{'cardinality': 32\}.*no groups"):
        Encoder("resnet50_gcn", 3, options={"cardinality": 32})
