"""UNet-S5-D16: shapes, names and counts of mmsegmentation's printout, which its checkpoints follow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.optim.groups import encoder_of


def meta(**settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_model("unet_s5_d16", 3, 2, **settings)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def normed(name: str) -> Iterator[str]:
    """Tensors of a convolution without bias and its batch norm."""
    yield f"{name}.conv.weight"
    yield from (
        f"{name}.bn.{each}" for each in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    )


def printout() -> Iterator[str]:
    for block in (
        "encoder.0.0",
        *(f"encoder.{i}.1" for i in range(1, 5)),
        *(f"decoder.{i}.conv_block" for i in range(4)),
    ):
        for conv in (0, 1):
            yield from normed(f"backbone.{block}.convs.{conv}")
    for stage in range(4):
        yield from normed(f"backbone.decoder.{stage}.upsample.interp_upsample.1")
    for head in ("decode_head", "auxiliary_head"):
        yield from normed(f"{head}.convs.0")
        yield from (f"{head}.conv_seg.weight", f"{head}.conv_seg.bias")


def test_features_and_logits_have_the_published_shapes() -> None:
    model = meta(heads={"auxiliary": True}).train()
    left: list[Tensor] = []
    for stage in model.encoder:
        stage.register_forward_hook(lambda _module, _inputs, output: left.append(output))
    half: list[Tensor] = []
    model.auxiliary_head.conv_seg.register_forward_hook(lambda _module, _inputs, output: half.append(output))
    returned: list[list[Tensor]] = []
    model.backbone.register_forward_hook(lambda _module, _inputs, output: returned.append(output))
    out = model(torch.empty(4, 3, 480, 480, dtype=torch.uint8, device="meta"))
    assert [tuple(x.shape) for x in left] == [(4, 64 << i, 480 >> i, 480 >> i) for i in range(5)]
    assert [tuple(x.shape) for x in returned[0]] == [(4, 64 << i, 480 >> i, 480 >> i) for i in (4, 3, 2, 1, 0)]
    assert returned[0][0] is left[-1]
    assert half[0].shape == (4, 2, 240, 240)
    assert out.logits.shape == out.heads["auxiliary"].shape == (4, 2, 480, 480)
    assert model.eval()(torch.empty(1, 3, 32, 48, dtype=torch.uint8, device="meta")).heads == {}


def test_parameter_counts() -> None:
    model = meta(heads={"auxiliary": True})
    assert count(model.encoder) == 18_847_168
    assert sum(count(stage.upsample) for stage in model.backbone.decoder) == 698_240
    assert sum(count(stage.conv_block) for stage in model.backbone.decoder) == 9_404_160
    assert count(model.backbone) == 28_949_568
    assert count(model.decode_head) == 37_122 and count(model.auxiliary_head) == 73_986
    assert count(model) == 29_060_676 and count(meta()) == 28_986_690


def test_the_names_are_the_printouts() -> None:
    names = meta(heads={"auxiliary": True}).state_dict().keys()
    assert {name for name in names if not name.startswith("input.")} == set(printout())


def test_the_parts_are_the_printouts() -> None:
    model = meta(heads={"auxiliary": True})
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == len(convs) - 2 == 10 + 8 + 4 + 1 + 1
    assert all(
        (norm.eps, norm.momentum, norm.affine, norm.track_running_stats) == (1e-5, 0.1, True, True) for norm in norms
    )
    assert [type(module).__name__ for module in model.modules() if isinstance(module, nn.Dropout2d)] == [
        "Dropout2d"
    ] * 2
    assert all(module.p == 0.1 for module in model.modules() if isinstance(module, nn.Dropout2d))
    assert {
        name for name, _ in model.named_parameters() if "conv" in name.split(".")[-2] and name.endswith("bias")
    } == {
        "decode_head.conv_seg.bias",
        "auxiliary_head.conv_seg.bias",
    }


def test_the_start_is_the_published_one() -> None:
    torch.manual_seed(0)
    model = build_model("unet_s5_d16", 3, 8, base_channels=16)
    for name, tensor in model.state_dict().items():
        if name.endswith(".conv.weight") and tensor.numel() > 2000:
            fan_out = tensor[:, 0].numel()
            assert float(tensor.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.1), name
        elif name.endswith(".bn.weight"):
            assert bool((tensor == 1).all())
    assert float(model.decode_head.conv_seg.weight.detach().std()) == pytest.approx(0.01, rel=0.2)


def test_a_decoder_stage_puts_the_skip_first_and_convolves_what_it_has_upsampled() -> None:
    """In words of torch alone, on the deepest stage."""
    torch.manual_seed(0)
    stage = build_model("unet_s5_d16", 3, 2, base_channels=2).eval().backbone.decoder[3]
    skip, x = torch.randn(1, 16, 8, 12), torch.randn(1, 32, 4, 6)
    conv, norm = stage.upsample.interp_upsample[1].conv, stage.upsample.interp_upsample[1].bn
    with torch.no_grad():
        doubled = nn.functional.interpolate(x, size=(8, 12), mode="bilinear", align_corners=False)
        joined = torch.cat([skip, norm(nn.functional.conv2d(doubled, conv.weight)).relu()], dim=1)
        torch.testing.assert_close(stage(skip, x), stage.conv_block(joined))


def test_a_size_that_does_not_halve_four_times_is_refused() -> None:
    with pytest.raises(SegfoldError, match=r"470×480.*multiples of 16.*input\.size"):
        meta()(torch.empty(1, 3, 470, 480, dtype=torch.uint8, device="meta"))


def test_a_file_of_its_names_fills_it_but_for_other_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = build_model("unet_s5_d16", 3, 19, base_channels=2, heads={"auxiliary": True})
    torch.save({"state_dict": theirs.state_dict(), "meta": {"epoch": 3}}, tmp_path / "unet.pth")
    torch.manual_seed(1)
    ours = build_model("unet_s5_d16", 3, 2, base_channels=2, weights=str(tmp_path / "unet.pth"))
    given, got = theirs.state_dict(), ours.state_dict()
    differing = {name for name, tensor in got.items() if not torch.equal(tensor, given[name])}
    assert differing == {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
    with pytest.raises(SegfoldError, match=r"backbone\.encoder"):
        build_model("unet_s5_d16", 3, 2, base_channels=4, weights=str(tmp_path / "unet.pth"))


def test_the_encoder_can_be_frozen() -> None:
    model = meta(base_channels=2)
    assert encoder_of(model, "freeze_encoder") is model.backbone.encoder
