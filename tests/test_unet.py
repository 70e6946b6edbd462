"""The whole U-Net: published shapes and counts, every option, and what training and compiling ask of it."""

import copy

import pytest
import torch
from torch import nn

from segfold.errors import SegfoldError
from segfold.models import UNet, build_model

SMALL = {"encoder": "resnet10t", "weights": "none", "decoder_channels": 8}
# model_34 of the fourth place (SeuTao): A 3.7
MODEL_34 = {
    "encoder": "resnet34",
    "weights": "none",
    "stem_pool": False,
    "attention": "scse",
    "reduction": 16,
    "centre": "plain",
    "decoder_hidden": "skip",
    "hypercolumn": "concat",
    "heads": {"nonempty": True, "image": True, "fuse_image": True},
    "dropout": 0.5,
    "conv_bias": True,
}


def unet(in_channels: int = 3, classes: int = 1, **settings) -> UNet:
    torch.manual_seed(0)
    model = build_model("unet", in_channels, classes, **{**SMALL, **settings})
    assert isinstance(model, UNet)
    return model


def pixels(n: int = 2, channels: int = 3, size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_network_has_its_size_and_shapes() -> None:
    with torch.device("meta"):
        model = build_model("unet", 3, 1, **MODEL_34).eval()
        features = model.encoder(torch.zeros(2, 3, 128, 128))
        centre = model.centre(features[-1])
        levels = model.decode(features)
    assert count(model) == 30_432_760
    assert model.stride == 32
    assert [tuple(x.shape[1:]) for x in features] == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8)]
    assert tuple(centre.shape[1:]) == (256, 4, 4)
    assert [tuple(x.shape[1:]) for x in levels] == [(64, s, s) for s in (128, 64, 32, 16, 8)]
    inputs = [(b.conv1[0].in_channels, b.conv1[0].out_channels) for b in model.decoder]
    assert inputs == [(768, 512), (320, 256), (192, 128), (128, 64), (64, 32)]


def test_it_agrees_with_another_library_on_the_size_of_a_plain_unet() -> None:
    # segmentation_models.pytorch 0.6, Unet("resnet34", classes=1): 24,436,369 with a last layer of 3×3.
    with torch.device("meta"):
        model = build_model("unet", 3, 1, weights="none", decoder_channels=(256, 128, 64, 32, 16))
    assert count(model) == 24_436_369 - 8 * 16


def test_eval_is_deterministic_and_dropout_only_trains() -> None:
    heads = {"levels": True, "nonempty": True, "image": True, "fuse_image": True}
    for form in (False, True, "concat"):
        model = unet(dropout=0.5, hypercolumn=form, heads=heads, attention="scse", encoder_attention="cse")
        x = pixels()
        model.eval()
        with torch.no_grad():
            a, b = model(x), model(x)
        assert torch.equal(a.logits, b.logits) and torch.equal(a.image, b.image)
        model.train()
        a, b = model(x), model(x)
        assert not torch.equal(a.logits, b.logits)
        assert not torch.equal(a.heads["levels"], b.heads["levels"])


def test_without_dropout_training_is_deterministic() -> None:
    model = unet(hypercolumn="concat").train()
    x = pixels()
    assert torch.equal(model(x).logits, model(x).logits)


@pytest.mark.parametrize("stem_pool", [True, False])
@pytest.mark.parametrize("finest_stride", [1, 2, 4])
@pytest.mark.parametrize("form", [False, True, "concat"])
def test_all_logits_have_the_input_size(stem_pool, finest_stride, form) -> None:
    heads = {"levels": True, "nonempty": True, "image": True}
    with torch.device("meta"):
        model = unet(1, 3, stem_pool=stem_pool, finest_stride=finest_stride, hypercolumn=form, heads=heads).train()
        out = model(pixels(channels=1))
        levels = model.decode(model.encoder(pixels(channels=1)))
    count = {1: 5, 2: 4, 4: 3}[finest_stride] - (not stem_pool)
    assert levels[0].shape[-1] == 64 // finest_stride and len(levels) == count
    assert out.logits.shape == out.heads["nonempty"].shape == (2, 3, 64, 64)
    assert out.heads["levels"].shape == (2, count, 3, 64, 64)
    assert out.image.shape == (2, 1)


def test_only_training_computes_what_only_training_uses() -> None:
    model = unet(heads={"levels": True, "nonempty": True, "image": True}).eval()
    ran = []
    model.levels.register_forward_hook(lambda *_: ran.append("levels"))
    model.nonempty.register_forward_hook(lambda *_: ran.append("nonempty"))
    out = model(pixels())
    assert set(out.heads) == {"image"} and out.image is out.heads["image"] and ran == []
    out = model.train()(pixels())
    assert set(out.heads) == {"levels", "nonempty", "image"} and sorted(ran) == ["levels", "nonempty"]
    plain = unet().train()(pixels())
    assert plain.heads == {} and plain.image is None


def test_every_parameter_learns_from_its_heads() -> None:
    heads = {"levels": True, "nonempty": True, "image": True, "fuse_image": True}
    for form in (True, "concat"):
        model = unet(heads=heads, hypercolumn=form, attention="scse", centre="plain").train()
        out = model(pixels())
        sum((x.square().mean() for x in out.heads.values()), out.logits.square().mean()).backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_image_head_does_not_train_the_decoder_and_levels_have_their_own_heads() -> None:
    model = unet(heads={"image": True, "levels": True}, centre="plain").train()
    model(pixels()).image.sum().backward()
    assert all(p.grad is None for p in [*model.decoder.parameters(), *model.centre.parameters()])
    assert model.encoder.net["layer4"][0].conv1.weight.grad is not None
    model.zero_grad()
    model(pixels()).heads["levels"][:, -1].sum().backward()  # the coarsest level
    touched = [any(p.grad is not None and p.grad.any() for p in h.parameters()) for h in model.levels.heads]
    assert touched == [False] * (len(touched) - 1) + [True]
    assert not any(p.grad is not None and p.grad.any() for p in model.decoder[1].parameters())


def test_fused_image_feature_reaches_the_logits() -> None:
    heads = {"image": True, "fuse_image": True}
    for form in (False, True, "concat"):
        model = unet(heads=heads, hypercolumn=form).eval()
        x = pixels()
        before = model(x).logits
        with torch.no_grad():
            model.image.squeeze.bias += 1
        assert not torch.equal(model(x).logits, before)
    apart = unet(heads={"image": True}).eval()
    before = apart(x).logits
    with torch.no_grad():
        apart.image.squeeze.bias += 1
    assert torch.equal(apart(x).logits, before)


def test_centre_with_and_without_skip() -> None:
    with torch.device("meta"):
        none = unet(stem_pool=False)
        skip = unet(stem_pool=False, centre="plain", centre_channels=(24, 12))
        bare = unet(stem_pool=False, centre="plain", centre_channels=(24, 12), centre_skip=False)
        assert [len(m.decoder) for m in (none, skip, bare)] == [4, 5, 5]
        assert [m.stride for m in (none, skip, bare)] == [16, 32, 32]
        assert skip.decoder[0].conv1[0].in_channels == 12 + 512
        assert bare.decoder[0].conv1[0].in_channels == 12
        for model in (none, skip, bare):
            assert model(pixels()).logits.shape == (2, 1, 64, 64)


def test_attention_sits_in_every_decoder_block() -> None:
    with torch.device("meta"):
        plain = unet(decoder_channels=64)
        # A 3.8, sSE without bias
        for kind, reduction, expected in (
            ("cse", 2, 4192),
            ("sse", 2, 64),
            ("scse", 2, 4256),
            ("scse", 16, 644),
        ):
            gated = unet(decoder_channels=64, attention=kind, reduction=reduction)
            assert count(gated) - count(plain) == 5 * expected
    model = unet(attention="scse", attention_combine="max").eval()
    x = pixels()
    # Equal gates of one half: the maximum is x/2 where the sum is x.
    assert not torch.allclose(model(x).logits, unet(attention="scse").eval()(x).logits)


def test_attention_at_chosen_stages_of_decoder_and_encoder() -> None:
    with torch.device("meta"):
        plain = unet(decoder_channels=64)
        for kind, stages, each in (("scse", (1,), 644), ("cse", (2, 5), 580), ("sse", (), 64)):
            model = unet(decoder_channels=64, attention=kind, attention_stages=stages)
            assert count(model) - count(plain) == len(stages) * each
            # Stage 1 is the finest, the last block of five.
            gated = {5 - i for i, block in enumerate(model.decoder) if list(block.attention.parameters())}
            assert gated == set(stages)
        model = unet(encoder_attention="scse", encoder_attention_stages=(5, 2))
        widths = [p.shape[1] for n, p in model.encoder.named_parameters() if n.endswith("gate.spatial.conv.weight")]
        assert widths == [64, 512]
    with pytest.raises(
        SegfoldError, match=r"model\.attention_stages names stage 6, but the decoder of resnet10t has 5"
    ):
        unet(attention="cse", attention_stages=(6,))
    with pytest.raises(SegfoldError, match=r"encoder_attention_stages names stage 6, but encoder resnet10t has 5"):
        unet(encoder_attention="cse", encoder_attention_stages=(6,))


def test_all_ways_to_combine_reach_decoder_and_encoder() -> None:
    x = pixels()
    logits = {}
    for combine in ("sum", "max", "mul", "concat"):
        model = unet(attention="scse", encoder_attention="scse", attention_combine=combine).eval()
        gates = [m for m in model.modules() if type(m).__name__ == "ChannelSpatialGate"]
        assert len(gates) == 10 and {gate.combine for gate in gates} == {combine}
        if combine == "sum":
            weights = model.state_dict()
        model.load_state_dict({**model.state_dict(), **weights})
        logits[combine] = model(x).logits
    # At the start the gates are one half: the sum and the concatenation leave everything as it is.
    torch.testing.assert_close(logits["concat"], logits["sum"], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits["max"], logits["sum"]) and not torch.allclose(logits["mul"], logits["max"])


def test_decoder_channels_deepest_first() -> None:
    with torch.device("meta"):
        model = unet(decoder_channels=(20, 16, 12, 8, 4))
        assert [x.shape[1] for x in model.decode(model.encoder(pixels()))] == [4, 8, 12, 16, 20]
        with pytest.raises(SegfoldError, match=r"5 numbers.*resnet10t has 4 blocks.*strides 16, 8, 4, 2"):
            unet(decoder_channels=(20, 16, 12, 8, 4), finest_stride=2)


def test_heads_that_cannot_be() -> None:
    with pytest.raises(SegfoldError, match=r"heads\.image=true"):
        unet(heads={"fuse_image": True})
    with pytest.raises(SegfoldError, match="head_channels is 0"):
        unet(hypercolumn="concat", head_channels=0)
    with torch.device("meta"), pytest.raises(SegfoldError, match=r"head_channels is 0; model\.heads\.image needs"):
        unet(heads={"image": True}, head_channels=0)
    with torch.device("meta"):
        light = unet(heads={"levels": True}, head_channels=0)
    assert count(light.levels) == 5 * (8 + 1)


def test_inputs_that_do_not_fit_are_refused_in_one_line() -> None:
    model = unet()
    with pytest.raises(SegfoldError, match=r"101×101.*multiples of 32.*input\.size"):
        model(torch.zeros(1, 3, 101, 101))
    with pytest.raises(SegfoldError, match=r"3 channels.*1"):
        model(torch.zeros(1, 1, 64, 64))


def test_uint8_and_float_pixels_are_the_same_images() -> None:
    model = unet(5).eval()
    x = pixels(channels=5)
    assert torch.equal(model(x).logits, model(x.float()).logits)


def test_start_is_undecided_and_weights_are_drawn_by_he() -> None:
    model = unet(decoder_channels=64, hypercolumn=True).eval()
    assert torch.sigmoid(model(pixels()).logits).sub(0.5).abs().max() < 0.45
    conv = model.decoder[0].conv2[0]
    assert conv.bias is None
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert all(not m.bias.any() for m in model.pixels.modules() if isinstance(m, nn.Conv2d) and m.bias is not None)


def test_channels_last_all_the_way() -> None:
    model = unet(attention="scse", hypercolumn="concat", dropout=0.1).to(memory_format=torch.channels_last).train()
    strayed = []

    def look(module: nn.Module, _: object, out: object) -> None:
        if isinstance(out, torch.Tensor) and out.ndim == 4 and not out.is_contiguous(memory_format=torch.channels_last):
            strayed.append(type(module).__name__)

    for module in model.modules():
        module.register_forward_hook(look)
    model(pixels().contiguous(memory_format=torch.channels_last))
    assert strayed == []


def test_compiles_in_one_piece_with_the_same_result() -> None:
    heads = {"levels": True, "nonempty": True, "image": True, "fuse_image": True}
    model = unet(heads=heads, hypercolumn=True, attention="scse", encoder_attention="scse", finest_stride=2).train()
    compiled = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    x = pixels()
    a, b = model(x), compiled(x)
    torch.testing.assert_close(a.logits, b.logits)
    torch.testing.assert_close(a.heads, b.heads)


def test_a_copy_stands_alone() -> None:
    model = unet(encoder_attention="scse").eval()
    other = copy.deepcopy(model)
    x = pixels()
    before = other(x).logits
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert torch.equal(other(x).logits, before)


def test_state_dict_moves_between_builds_without_weights() -> None:
    model = unet(attention="cse", encoder_attention="sse").eval()
    torch.manual_seed(1)
    other = build_model("unet", 3, 1, **{**SMALL, "attention": "cse", "encoder_attention": "sse"}).eval()
    x = pixels()
    assert not torch.equal(model(x).logits, other(x).logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(x).logits, other(x).logits)


def test_it_learns_a_square() -> None:
    model = unet(1, attention="scse", hypercolumn=True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x = torch.full((4, 1, 64, 64), 100.0)
    mask = torch.zeros(4, 1, 64, 64)
    for i in range(4):
        x[i, :, 8 * i : 8 * i + 24, 10:40] = 200
        mask[i, :, 8 * i : 8 * i + 24, 10:40] = 1
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x).logits, mask)
        loss.backward()
        optimizer.step()
    found = model(x).logits > 0
    assert (found & (mask > 0)).sum() / (found | (mask > 0)).sum() > 0.8
