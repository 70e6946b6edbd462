"""FCN-R50-d8: published sizes, shapes and dilations; its encoder is timm's; its head goes onto any encoder."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from torch import nn

from segfold.errors import SegfoldError
from segfold.losses import HeadTerm, StageLoss
from segfold.models import build_model

AUXILIARY = {"heads": {"auxiliary": True}}
SMALL = {"encoder": "test_resnet", "channels": 8, "head_channels": 4}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def meta(classes: int = 2, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_model("fcn_dilated", 3, classes, **settings)


def small(classes: int = 2, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model("fcn_dilated", 3, classes, **{**SMALL, **settings})


@pytest.mark.parametrize(
    ("classes", "head", "auxiliary"),
    [(2, 23_597_058, 2_360_322), (19, 23_605_779, 2_364_691), (21, 23_606_805, 2_365_205)],
)
def test_published_sizes(classes: int, head: int, auxiliary: int) -> None:
    model = meta(classes, **AUXILIARY)
    assert count(model.encoder) == 23_527_264
    assert (count(model.decode_head), count(model.auxiliary_head)) == (head, auxiliary)
    assert count(model) == 23_527_264 + head + auxiliary
    assert count(meta(classes)) == 23_527_264 + head


def test_published_shapes() -> None:
    model = meta(2, **AUXILIARY).train()
    pixels = torch.empty(4, 3, 480, 480, device="meta")
    features = model.encoder(pixels)
    stages = [(256, 120, 120), (512, 60, 60), (1024, 60, 60), (2048, 60, 60)]
    assert [tuple(x.shape[1:]) for x in features[-4:]] == stages
    head = model.decode_head
    convolved = head.convs(features[-1])
    assert convolved.shape == (4, 512, 60, 60)
    assert head.conv_cat.conv.weight.shape == (512, 2560, 3, 3)
    assert head(features[-1]).shape == (4, 2, 60, 60)
    assert model.auxiliary_head.conv_seg(model.auxiliary_head.convs(features[-2])).shape == (4, 2, 60, 60)
    out = model(pixels)
    assert out.logits.shape == out.heads["auxiliary"].shape == (4, 2, 480, 480)


def test_dilations_begin_at_half_the_rate_and_keep_the_size() -> None:
    net = meta().encoder.net
    convs = [[block.conv2 for block in net[f"layer{number}"]] for number in (1, 2, 3, 4)]
    assert [[conv.dilation[0] for conv in stage] for stage in convs] == [
        [1] * 3,
        [1] * 4,
        [1, 2, 2, 2, 2, 2],
        [2, 4, 4],
    ]
    assert [stage[0].stride[0] for stage in convs] == [1, 2, 1, 1]
    assert all(conv.padding == conv.dilation for stage in convs for conv in stage)
    stem = [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in net.conv1 if hasattr(c, "stride")]
    assert stem == [(3, 32, 3, 2), (32, 32, 3, 1), (32, 64, 3, 1)]
    plain = meta(output_stride=32).encoder.net
    assert [plain[f"layer{number}"][1].conv2.dilation[0] for number in (3, 4)] == [1, 1]
    assert [plain[f"layer{number}"][0].conv2.stride[0] for number in (3, 4)] == [2, 2]


def test_the_encoder_computes_what_timms_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("resnet50c", output_stride=8, num_classes=0, global_pool="").eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    path = tmp_path / "resnet50c.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    ours = build_model("fcn_dilated", 3, 2, weights=str(path), channels=4).eval()
    pixels = torch.randint(0, 256, (1, 3, 48, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(theirs.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = theirs((pixels / 255 - mean) / std)
        torch.testing.assert_close(ours.encoder(pixels)[-1], expected, rtol=1e-4, atol=1e-5)


def test_logits_are_the_heads_resized() -> None:
    model = small().eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8)
    with torch.no_grad():
        logits = model.decode_head(model.encoder(pixels)[-1])
        assert logits.shape == (2, 2, 4, 6)
        expected = F.interpolate(logits, (32, 48), mode="bilinear", align_corners=False)
        torch.testing.assert_close(model(pixels).logits, expected)


def test_the_auxiliary_head_adds_its_share_in_training_alone() -> None:
    model = small(1, **AUXILIARY).train()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    masks = (torch.rand(2, 1, 32, 32) < 0.3).float()
    out = model(pixels)
    total, _ = StageLoss({"bce": (1.0, {})}, {"auxiliary": HeadTerm(0.4)})(out.logits, out.heads, masks)
    main, auxiliary = (
        F.binary_cross_entropy_with_logits(logits, masks) for logits in (out.logits, out.heads["auxiliary"])
    )
    torch.testing.assert_close(total, main + 0.4 * auxiliary)
    assert model.eval()(pixels).heads == {}


def test_the_auxiliary_head_sees_the_last_stage_but_one() -> None:
    model = small(**AUXILIARY).train()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model(pixels).heads["auxiliary"].sum().backward()
    net = model.encoder.net
    assert next(net["layer3"].parameters()).grad is not None
    assert next(net["layer4"].parameters()).grad is None


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "convnext_atto", "resnet18"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_any_encoder_that_can_be_dilated_has_it(encoder: str, stride: int) -> None:
    model = meta(3, encoder=encoder, output_stride=stride, **AUXILIARY).train()
    assert model.stride == stride
    out = model(torch.empty(2, 3, 96, 128, device="meta"))
    assert out.logits.shape == out.heads["auxiliary"].shape == (2, 3, 96, 128)
    assert model.encoder(torch.empty(2, 3, 96, 128, device="meta"))[-1].shape[2:] == (96 // stride, 128 // stride)


def test_an_encoder_that_cannot_be_dilated_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"swin_tiny.*output_stride.*choose another"):
        meta(encoder="swin_tiny_patch4_window7_224")


def mmsegs(model: nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    """The network's tensors as mmsegmentation writes them: a deep stem is one sequence, with the norm behind it."""
    found = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("encoder.net.", "backbone.", 1)
        name = name.replace("backbone.conv1.", "backbone.stem.").replace("backbone.bn1.", "backbone.stem.7.")
        found[name] = tensor
    return {"state_dict": {name: x for name, x in found.items() if not name.startswith("encoder.input")}, "meta": {}}


def different(one: nn.Module, other: nn.Module) -> list[str]:
    theirs = other.state_dict()
    return [
        name
        for name, x in one.state_dict().items()
        if x.shape != theirs[name].shape or not torch.equal(x, theirs[name])
    ]


def test_a_checkpoint_of_mmsegmentation_is_read_whole(tmp_path: Path) -> None:
    deep = {"encoder": "resnet10t", **AUXILIARY}
    trained = small(2, **deep)
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
    path = tmp_path / "fcn_r50-d8.pth"
    torch.save(mmsegs(trained), path)
    torch.manual_seed(5)
    fresh = {**SMALL, **deep, "weights": str(path)}
    assert different(build_model("fcn_dilated", 3, 2, **fresh), trained) == []
    assert different(build_model("fcn_dilated", 3, 2, **{**fresh, "heads": {}}), trained) == []
    # Another number of classes leaves the last layers as they start.
    other = build_model("fcn_dilated", 3, 5, **fresh)
    assert different(other, trained) == [
        f"{head}.conv_seg.{kind}" for head in ("decode_head", "auxiliary_head") for kind in ("weight", "bias")
    ]
    assert re.search(r"left: decode_head\.conv_seg\.weight \(2×8×1×1 in the file, 5×8×1×1 here\)", other.loaded[0])


def test_a_classifiers_checkpoint_fills_the_encoder_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    theirs = timm.create_model("test_resnet")
    path = tmp_path / "classifier.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    filled, drawn = small(weights=str(path)), small()
    unlike = {name.partition(".")[0] for name in different(filled, drawn)}
    assert unlike == {"encoder"}
    assert torch.equal(filled.encoder.net["conv1"][0].weight, theirs.conv1[0].weight)
