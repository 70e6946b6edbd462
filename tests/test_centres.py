"""Centres: their blocks against published sizes and laws, each inside a U-Net, and how settings choose one."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segfold.config import check_experiment, differing_keys, dump, dump_yaml, load_experiment
from segfold.errors import SegfoldError
from segfold.models import UNet, build_model
from segfold.models.centres import CENTRES, PLAIN_CHANNELS, build_centre
from segfold.models.dblock import DBlock
from segfold.models.pyramid import FeaturePyramidAttention, PyramidPooling

SMALL = {"encoder": "resnet10t", "weights": "none", "stem_pool": False, "decoder_channels": 8}
# Narrow enough to compute, each with a setting that is not its default.
CHOICES = {
    "none": {},
    "plain": {},
    "dblock": {"dilations": (1, 2, 4, 8), "channels": 16},
    "base_oc": {"channels": 16, "scales": (1, 2)},
    "pyramid_oc": {"channels": 16, "sizes": (1, 2, 6)},
    "asp_oc": {"channels": 8, "dilations": (1, 2)},
    "psp": {"channels": 16, "bins": (1, 2)},
    "fpa": {"channels": 16, "width": 24},
}


def unet(**settings) -> UNet:
    torch.manual_seed(0)
    model = build_model("unet", 3, 1, **{**SMALL, **settings})
    assert isinstance(model, UNet)
    return model


def centre(name: str, inputs: int, **settings):
    return build_centre({name: settings}, inputs, (512, 256), False)


def pixels(size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# The dilated block (A 3.9)


@pytest.mark.parametrize(
    ("channels", "dilations", "expected"),
    [
        (512, (1, 2, 4), 7_079_424),
        (512, (1, 2, 4, 8), 9_439_232),
        (512, (1, 2, 4, 8, 16), 11_799_040),
        (256, (1, 2, 4), 1_770_240),
        (2048, (1, 2, 4, 8, 16), 188_753_920),
    ],
)
def test_dblock_has_its_published_size(channels, dilations, expected) -> None:
    with torch.device("meta"):
        assert count(DBlock(channels, dilations)) == expected


def test_dblock_with_zero_weights_is_the_identity() -> None:
    block, x = DBlock(6), torch.randn(2, 6, 9, 9)
    assert all(not conv.bias.any() for conv in block.convs)
    for conv in block.convs:
        nn.init.zeros_(conv.weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("dilations", "side"), [((1,), 3), ((1, 2, 4), 15), ((1, 2, 4, 8), 31), ((1, 2, 4, 8, 16), 63)]
)
def test_dblock_sees_as_far_as_its_dilations_add_up_to(dilations, side) -> None:
    block = DBlock(1, dilations)
    for conv in block.convs:
        nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 65, 65)
    x[..., 32, 32] = 1
    seen = block(x)[0, 0] != 0
    reach = side // 2
    assert seen.sum() == side**2 and seen[32 - reach : 33 + reach, 32 - reach : 33 + reach].all()


def test_dblock_adds_every_stage_of_its_cascade() -> None:
    torch.manual_seed(0)
    block, x = DBlock(4, (1, 2)), torch.randn(2, 4, 7, 7)
    one = F.relu(F.conv2d(x, block.convs[0].weight, block.convs[0].bias, padding=1))
    two = F.relu(F.conv2d(one, block.convs[1].weight, block.convs[1].bias, padding=2, dilation=2))
    torch.testing.assert_close(block(x), x + one + two)


# Pyramid pooling and feature pyramid attention


def test_pyramid_pooling_is_the_feature_beside_its_means() -> None:
    torch.manual_seed(0)
    block, x = PyramidPooling(8, (1, 2, 4)).eval(), torch.randn(2, 8, 8, 8)
    y = block(x)
    assert block.outputs == 8 + 3 * 2 and y.shape == (2, 14, 8, 8)
    torch.testing.assert_close(y[:, :8], x)
    for i, bins in enumerate(block.bins):
        mean = block.parts[i](F.avg_pool2d(x, 8 // bins))
        expected = F.interpolate(mean, size=(8, 8), mode="bilinear", align_corners=False)
        torch.testing.assert_close(y[:, 8 + 2 * i : 10 + 2 * i], expected)
    # The largest grid of a map that is smaller than the grid repeats positions.
    assert block(torch.randn(2, 8, 1, 3)).shape == (2, 14, 1, 3)


def test_feature_pyramid_attention_has_its_published_size() -> None:
    # What the first place's network leaves for its centre: 35,922,412 without ResNet34 and its classifier, four
    # scSE gates, the decoder's five blocks and the last layers.
    rest = (44_016 + 132_224) + (49_956 + 17_188 + 13_092 + 11_044 + 37_700) + 184_448
    with torch.device("meta"):
        assert count(FeaturePyramidAttention(512, 256)) == 35_922_412 - 21_797_672 - rest


def test_feature_pyramid_attention_is_the_published_product() -> None:
    torch.manual_seed(0)
    block, x = FeaturePyramidAttention(6, 4).eval(), torch.randn(2, 6, 16, 16)
    half = block.down1(x)
    quarter = block.side2(block.down2(half))
    assert half.shape[2:] == (8, 8) and quarter.shape[2:] == (4, 4)

    def up(y: torch.Tensor) -> torch.Tensor:
        return F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)

    mean = F.conv2d(F.adaptive_avg_pool2d(x, 1), block.mean.weight)
    torch.testing.assert_close(block(x), block.main(x) * up(block.side1(half) + up(quarter)) + mean)
    assert block(torch.randn(2, 6, 1, 5)).shape == (2, 4, 1, 5)


# In a U-Net


def test_every_centre_gives_what_it_says() -> None:
    assert set(CHOICES) == set(CENTRES)
    x = torch.randn(2, 32, 8, 8)
    shapes = {}
    for name, settings in CHOICES.items():
        made = centre(name, 32, **settings)
        shapes[name] = tuple(made.module(x).shape[1:])
        assert shapes[name] == (made.channels, 4, 4) if made.halves else (made.channels, 8, 8)
        if "pool" in (CENTRES[name].__kwdefaults__ or {}):
            other = centre(name, 32, **settings, pool=not made.halves)
            assert other.halves != made.halves and other.channels == made.channels
            assert other.module(x).shape[2] == (8 if made.halves else 4)
    assert shapes["none"] == (32, 8, 8) and shapes["plain"] == (256, 4, 4)
    assert shapes["dblock"] == shapes["psp"] == (16, 8, 8)
    assert shapes["base_oc"] == shapes["pyramid_oc"] == shapes["asp_oc"] == shapes["fpa"] == (16, 4, 4)


def test_wide_features_are_narrowed_before_dear_blocks() -> None:
    with torch.device("meta"):
        reduction = 2048 * 512 + 2 * 512
        assert count(centre("dblock", 2048).module) == reduction + 7_079_424
        assert count(centre("dblock", 512).module) == 7_079_424
        assert centre("dblock", 320).channels == 320
        assert count(centre("fpa", 2048).module) == reduction + count(FeaturePyramidAttention(512, 256))
        assert count(centre("fpa", 2048, width=2048).module) == count(FeaturePyramidAttention(2048, 256))
        assert count(centre("base_oc", 2048).module) == 9_438_720 + 920_576


@pytest.mark.parametrize("name", CHOICES)
def test_a_unet_with_each_centre_learns_in_all_its_parts(name) -> None:
    narrow = {"centre_channels": (16, 8)} if name == "plain" else {}
    model = unet(centre={name: CHOICES[name]}, **narrow).train()
    out = model(pixels(32))
    assert out.logits.shape == (2, 1, 32, 32)
    out.logits.square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    # The centre is on the way from the encoder to the logits.
    model.eval()
    x = pixels(32)
    before = model(x).logits
    model.centre.register_forward_hook(lambda module, args, result: result + 1)
    assert not torch.equal(model(x).logits, before)


def test_centres_stay_channels_last() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 8, 8).contiguous(memory_format=torch.channels_last)
    strayed = []

    def look(module: nn.Module, _: object, out: torch.Tensor) -> None:
        if not out.is_contiguous(memory_format=torch.channels_last):
            strayed.append(type(module).__name__)

    for name, settings in CHOICES.items():
        module = centre(name, 32, **settings).module.to(memory_format=torch.channels_last)
        for part in module.modules():
            part.register_forward_hook(look)
        module(x)
    assert strayed == []


@pytest.mark.parametrize("name", ["dblock", "base_oc", "pyramid_oc", "psp", "fpa"])
def test_centres_compile_in_one_piece_with_the_same_result(name) -> None:
    torch.manual_seed(0)
    settings = {**CHOICES[name], **({"sizes": (2,)} if name == "pyramid_oc" else {})}
    module, x = centre(name, 32, **settings).module.eval(), torch.randn(2, 32, 8, 8)
    compiled = torch.compile(copy.deepcopy(module), backend="eager", fullgraph=True)
    torch.testing.assert_close(module(x), compiled(x))


def test_a_centre_that_keeps_the_size_leaves_the_decoder_as_it_is_without() -> None:
    with torch.device("meta"):
        none, dblock, pooled = (unet(centre=c) for c in ("none", "dblock", {"dblock": {"pool": True}}))
        bare = unet(centre={"dblock": {"pool": True}}, centre_skip=False)
    assert [len(m.decoder) for m in (none, dblock, pooled)] == [4, 4, 5]
    assert [m.stride for m in (none, dblock, pooled)] == [16, 16, 32]
    assert dblock.decoder[0].conv1[0].in_channels == 512 + 256
    assert [m.decoder[0].conv1[0].in_channels for m in (pooled, bare)] == [512 + 512, 512]


def test_plain_by_name_and_by_mapping_are_the_same_network_with_the_names_it_always_had() -> None:
    a, b = unet(centre="plain"), unet(centre={"none": None, "plain": {}})
    assert [n for n in a.state_dict() if n.startswith("centre.")][:2] == ["centre.0.0.weight", "centre.0.1.weight"]
    assert all(torch.equal(x, b.state_dict()[n]) for n, x in a.state_dict().items())


def test_context_in_chosen_decoder_blocks() -> None:
    with torch.device("meta"):
        plain = unet(decoder_channels=16)
        one, two = unet(decoder_channels=16, decoder_context=(4,)), unet(decoder_channels=16, decoder_context=(3, 4))
    each = count(centre("base_oc", 16, channels=16).module) - (9 * 16 * 16 + 16 + 32)
    assert count(one) - count(plain) == each and count(two) - count(plain) == 2 * each
    names = {n.split(".context.")[0] for n, _ in two.named_parameters() if ".context." in n}
    assert names == {"decoder.0", "decoder.1"}  # stage 4 is the deepest of four
    assert [n for n in plain.state_dict() if "context" in n] == []
    model = unet(decoder_context=(4,)).eval()
    x = pixels()
    before = model(x).logits
    with torch.no_grad():
        model.decoder[0].context.contexts[0].project.bias += 1
    assert not torch.equal(model(x).logits, before)


def test_centres_that_cannot_be() -> None:
    with pytest.raises(SegfoldError, match=r"^unknown key model\.centre\.plane; did you mean plain\?$"):
        unet(centre="plane")
    with pytest.raises(SegfoldError, match=r"^model\.centre: 2 names given"):
        unet(centre={"plain": {}, "psp": {}})
    with pytest.raises(SegfoldError, match=r"'plane'.*plain"):
        build_centre("plane", 8, PLAIN_CHANNELS, False)
    with pytest.raises(SegfoldError, match=r"2 centres \(plain, psp\)"):
        build_centre({"plain": {}, "psp": {}}, 8, PLAIN_CHANNELS, False)
    wrong: dict[str, dict[str, Any]] = {
        "dblock": {"channels": 0, "dilations": (1, 0)},
        "base_oc": {"channels": 0, "scales": (0,)},
        "pyramid_oc": {"sizes": (2, -1)},
        "asp_oc": {"dilations": (2, 0)},
        "psp": {"channels": 0, "bins": ()},
        "fpa": {"width": 0},
    }
    for name, setting, value in [(name, *item) for name, values in wrong.items() for item in values.items()]:
        said = rf"^model\.centre\.{name}\.{setting}\S*: [^\n]*, found "
        with pytest.raises(SegfoldError, match=said):
            unet(centre={name: {setting: value}})
        with pytest.raises(SegfoldError, match=said):
            centre(name, 8, **{setting: value})
    with pytest.raises(SegfoldError, match=r"decoder_context names stage 5, but the decoder of resnet10t has 4"):
        unet(decoder_context=(5,))


# In a config


def experiment(**model):
    stages = {"a": {"epochs": 1, "loss": {"mask": {"bce": 1}}}}
    return check_experiment({"competition": "tgs-salt", "stages": stages, "model": model}, "here")


def test_a_config_names_a_centre_and_its_settings(tmp_path) -> None:
    assert experiment().model.centre.name == "none"
    assert experiment(centre="plain").model.centre.name == "plain"
    chosen = experiment(centre={"dblock": {"dilations": [1, 2, 4, 8]}})
    assert chosen.model.centre.settings == {"dilations": (1, 2, 4, 8), "channels": 512, "pool": False}
    assert dump(chosen)["model"]["centre"] == {"dblock": {"dilations": [1, 2, 4, 8], "channels": 512, "pool": False}}
    for one in (chosen, experiment(), experiment(centre="plain")):
        (tmp_path / "x.yaml").write_text(dump_yaml(one))
        assert differing_keys(load_experiment(tmp_path / "x.yaml"), one) == []
    assert "model.centre.dblock.dilations" in differing_keys(chosen, experiment(centre="dblock"))


def test_a_dumped_config_builds_the_network_it_names() -> None:
    settings = experiment(**SMALL, centre={"dblock": {"dilations": [1, 2], "channels": 16}}, decoder_context=[4])
    values = settings.model.model_dump()
    with torch.device("meta"):
        model = build_model(values.pop("name"), 3, 1, **values)
    assert len(model.centre[1].convs) == 2 and type(model.decoder[0].context).__name__ == "BaseOC"


@pytest.mark.parametrize(
    ("centre", "message"),
    [
        ("dblok", r"unknown key model\.centre\.dblok; did you mean dblock\?"),
        ({"dblock": {"dilatons": [1]}}, r"unknown key model\.centre\.dblock\.dilatons; did you mean dilations\?"),
        ({"fpa": {}, "psp": {}}, r"model\.centre: 2 names given"),
        ({"dblock": {"dilations": "far"}}, r"model\.centre\.dblock\.dilations"),
    ],
)
def test_wrong_centres_are_refused_in_one_line(centre, message) -> None:
    with pytest.raises(SegfoldError, match=message) as error:
        experiment(centre=centre)
    assert "\n" not in str(error.value)
