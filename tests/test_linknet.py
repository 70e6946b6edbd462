"""LinkNet and D-LinkNet: published sizes, shapes and sums."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.models.link_blocks import LinkDecoder, deconvolution


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def meta(name: str, classes: int = 1, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, 3, classes, **{"weights": "none", **settings})


def shapes(levels: list[Tensor]) -> list[tuple[int, int]]:
    return [(x.shape[1], x.shape[2]) for x in levels]


@pytest.mark.parametrize(
    ("name", "classes", "settings", "parameters"),
    [
        ("linknet", 19, {}, 11_536_691),
        ("linknet", 1, {}, 11_534_369),
        ("dlinknet", 1, {}, 31_096_129),
        ("dlinknet", 1, {"dilations": ()}, 21_656_897),  # the D-LinkNet paper's LinkNet34
        ("dlinknet", 1, {"encoder": "resnet50", "dilations": (1, 2, 4, 8, 16)}, 217_645_089),
        ("dlinknet", 1, {"encoder": "resnet101", "dilations": (1, 2, 4, 8, 16)}, 236_637_217),
    ],
)
def test_published_sizes(name: str, classes: int, settings: dict[str, object], parameters: int) -> None:
    assert count(meta(name, classes, **settings)) == parameters


def test_published_shapes() -> None:
    x = torch.empty(1, 3, 256, 256, device="meta")
    model = meta("linknet", 19).eval()
    features = model.encoder(x)
    assert shapes(features[-4:]) == [(64, 64), (128, 32), (256, 16), (512, 8)]
    levels = model.decode(features)
    assert shapes(levels) == [(256, 16), (128, 32), (64, 64), (64, 64)]
    assert [tuple(part(levels[-1]).shape[1:]) for part in (model.tail[:3], model.tail[:4])] == [(32, 128, 128)] * 2
    assert model(x).logits.shape == (1, 19, 256, 256)
    model = meta("dlinknet").eval()
    x = torch.empty(1, 3, 1024, 1024, device="meta")
    features = model.encoder(x)
    assert model.centre(features[-1]).shape[1:] == (512, 32, 32)
    assert shapes(model.decode(features)) == [(256, 64), (128, 128), (64, 256), (64, 512)]


@pytest.mark.parametrize("name", ["linknet", "dlinknet"])
@pytest.mark.parametrize(
    ("encoder", "stem_pool", "stride"),
    [("resnet18", True, 32), ("resnet34", False, 16), ("convnext_atto", True, 32)],
)
def test_output_is_input_size_for_multiples_of_the_stride(
    name: str, encoder: str, stem_pool: bool, stride: int
) -> None:
    model = meta(name, 2, encoder=encoder, stem_pool=stem_pool)
    assert model.stride == stride
    for height, width in ((stride, 3 * stride), (4 * stride, 5 * stride)):
        out = model(torch.empty(2, 3, height, width, device="meta"))
        assert out.logits.shape == (2, 2, height, width)


@pytest.mark.parametrize(("name", "stride"), [("linknet", 1), ("dlinknet", 2)])
def test_without_the_stem_pool_all_levels_are_twice_as_large(name: str, stride: int) -> None:
    model = meta(name, encoder="resnet34", stem_pool=False)
    levels = model.decode(model.encoder(torch.empty(1, 3, 128, 128, device="meta")))
    assert shapes(levels) == [(256, 16), (128, 32), (64, 64), (64, 64)]
    assert model.tail[0].stride == (stride, stride)


def test_encoders_of_other_scales_are_refused() -> None:
    for name in ("linknet", "dlinknet"):
        with pytest.raises(SegfoldError, match=r"resnet18 gives features at strides 2, 4, 8; .*choose another"):
            meta(name, encoder="resnet18", encoder_options={"output_stride": 8})
    with pytest.raises(SegfoldError, match=r"^model\.centre_channels: Input should be .*, found 0$"):
        meta("dlinknet", centre_channels=0)


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_deconvolutions_multiply_the_size(kernel: int, stride: int) -> None:
    if (kernel, stride) not in ((2, 1), (4, 1)):
        assert deconvolution(2, 3, kernel, stride)(torch.zeros(1, 2, 5, 7)).shape == (1, 3, 5 * stride, 7 * stride)
    block = LinkDecoder(8, 6, stride)
    assert block(torch.zeros(2, 8, 3, 5)).shape == (2, 6, 3 * stride, 5 * stride)


def silenced(model: nn.Module) -> nn.Module:
    """The decoder blocks give what their last shift says: 1 everywhere, whatever comes in."""
    for block in model.decoder:
        nn.init.zeros_(block.expand[1].weight)
        nn.init.ones_(block.expand[1].bias)
    return model.eval()


def test_skips_are_added() -> None:
    """With blocks that always give 1, each level is 1 plus the skip (LinkNet: also 1 plus the pooled stem)."""
    torch.manual_seed(0)
    features = [torch.randn(1, c, s, s) for c, s in ((64, 32), (64, 16), (128, 8), (256, 4), (512, 2))]
    stem, one, two, three, _ = features
    link = silenced(build_model("linknet", 3, 1, weights="none"))
    expected = [torch.relu(1 + skip) for skip in (three, two, one, F.max_pool2d(stem, 3, 2, 1))]
    for found, level in zip(link.decode(features), expected, strict=True):
        torch.testing.assert_close(found, level)
    deep = silenced(build_model("dlinknet", 3, 1, encoder="resnet18", weights="none"))
    expected = [1 + skip for skip in (three, two, one)] + [torch.ones(1, 64, 32, 32)]
    for found, level in zip(deep.decode(features), expected, strict=True):
        torch.testing.assert_close(found, level)
    assert not build_model("linknet", 3, 1, encoder="resnet10t", weights="none", stem_pool=False).adds_stem


def test_the_centre_starts_as_nothing_more_than_its_input() -> None:
    """Zero weights make the dilated block the identity, and with it the D-LinkNet a LinkNet34."""
    torch.manual_seed(0)
    with_centre = build_model("dlinknet", 3, 1, encoder="resnet10t", weights="none", dilations=(1, 2)).eval()
    without = build_model("dlinknet", 3, 1, encoder="resnet10t", weights="none", dilations=()).eval()
    without.load_state_dict({k: v for k, v in with_centre.state_dict().items() if not k.startswith("centre.")})
    x = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert not torch.equal(with_centre(x).logits, without(x).logits)
        for conv in with_centre.centre.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.zeros_(conv.weight)
        torch.testing.assert_close(with_centre(x).logits, without(x).logits)


def test_a_reduction_before_the_centre_saves_most_of_it() -> None:
    whole = meta("dlinknet", encoder="resnet50", dilations=(1, 2, 4))
    reduced = meta("dlinknet", encoder="resnet50", dilations=(1, 2, 4), centre_channels=512)
    assert count(whole.centre) == 3 * (9 * 2048**2 + 2048)
    assert count(reduced.centre) == 7_079_424
    assert count(reduced.reduce) == 2048 * 512 + 2 * 512
    assert reduced(torch.empty(1, 3, 64, 64, device="meta")).logits.shape == (1, 1, 64, 64)
