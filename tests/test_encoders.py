"""Any timm encoder with a pyramid fits the U-Net; what does not fit is refused by name."""

import pytest
import torch
from torch import nn

from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.models.encoders import Encoder

# encoder, strides and channels of its features, from the networks' papers and A §2
FAMILIES = [
    ("resnet34", (2, 4, 8, 16, 32), (64, 64, 128, 256, 512)),
    ("resnet50c", (2, 4, 8, 16, 32), (64, 256, 512, 1024, 2048)),
    ("seresnext50_32x4d", (2, 4, 8, 16, 32), (64, 256, 512, 1024, 2048)),
    ("legacy_seresnext50_32x4d", (2, 4, 8, 16, 32), (64, 256, 512, 1024, 2048)),
    ("legacy_senet154", (2, 4, 8, 16, 32), (128, 256, 512, 1024, 2048)),
    ("res2net50_26w_4s", (2, 4, 8, 16, 32), (64, 256, 512, 1024, 2048)),
    ("regnetx_002", (2, 4, 8, 16, 32), (32, 24, 56, 152, 368)),
    ("dpn68", (2, 4, 8, 16, 32), (10, 144, 320, 704, 832)),
    ("vgg16_bn", (1, 2, 4, 8, 16, 32), (64, 128, 256, 512, 512, 512)),
    ("densenet121", (2, 4, 8, 16, 32), (64, 256, 512, 1024, 1024)),
    ("efficientnet_b0", (2, 4, 8, 16, 32), (16, 24, 40, 112, 320)),
    ("tf_efficientnet_lite0", (2, 4, 8, 16, 32), (16, 24, 40, 112, 320)),
    ("mobilenetv3_small_100", (2, 4, 8, 16, 32), (16, 16, 24, 48, 576)),
    ("hrnet_w18_small", (2, 4, 8, 16, 32), (64, 128, 256, 512, 1024)),
    ("convnext_atto", (4, 8, 16, 32), (40, 80, 160, 320)),
    ("swin_tiny_patch4_window7_224", (4, 8, 16, 32), (96, 192, 384, 768)),
    ("pvt_v2_b0", (4, 8, 16, 32), (32, 64, 160, 256)),
]
# These run with numbers as well as with shapes: NHWC, a start at stride 4 and at 1, depthwise, plain.
COMPUTED = {
    "resnet34",
    "regnetx_002",
    "mobilenetv3_small_100",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
}


@pytest.mark.parametrize(("name", "strides", "channels"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_family_gives_its_pyramid_and_logits_at_input_size(name, strides, channels) -> None:
    computed = name in COMPUTED
    with torch.device("cpu" if computed else "meta"):
        model = build_model("unet", 1, 2, encoder=name, weights="none", decoder_channels=8, hypercolumn=True)
        pixels = torch.randint(0, 256, (1, 1, 64, 96), dtype=torch.uint8)
    assert model.encoder.strides == strides and model.encoder.channels == channels and model.stride == 32
    model.eval()
    with torch.no_grad():
        features = model.encoder(pixels)
        logits = model(pixels).logits
    sizes = [(c, 64 // s, 96 // s) for c, s in zip(channels, strides)]
    assert [tuple(x.shape[1:]) for x in features] == sizes
    assert logits.shape == (1, 2, 64, 96)
    if computed:
        assert logits.isfinite().all() and logits.std() > 0


def test_encoders_have_the_published_size() -> None:
    with torch.device("meta"):
        for name, expected in (("resnet34", 21_284_672), ("seresnext50_32x4d", 25_510_896)):
            assert sum(p.numel() for p in Encoder(name, 3).parameters()) == expected


# The encoders of the TGS family: parameters of the body (A §2).
TGS = {
    "resnet34": 21_284_672,
    "resnet50": 23_508_032,
    "seresnext50_32x4d": 25_510_896,
    "seresnext101_32x4d": 46_906_416,
    "seresnet101": 47_277_872,
    "senet154": 113_039_984,
    "legacy_seresnet101": 47_277_872,
    "legacy_seresnext50_32x4d": 25_510_896,
    "legacy_seresnext101_32x4d": 46_906_416,
    "legacy_senet154": 113_039_984,
}


@pytest.mark.parametrize("name", TGS)
def test_encoders_of_the_tgs_family_without_the_stems_pool(name) -> None:
    channels = (64, 128, 256, 512) if name == "resnet34" else (256, 512, 1024, 2048)
    with torch.device("meta"):
        encoder = Encoder(name, 3, stem_pool=False).eval()
        shapes = [tuple(x.shape[1:]) for x in encoder(torch.zeros(1, 3, 64, 96))]
    assert sum(p.numel() for p in encoder.parameters()) == TGS[name]
    assert encoder.channels == channels and encoder.strides == (2, 4, 8, 16) and encoder.divisor == 16
    assert shapes == [(c, 64 // s, 96 // s) for c, s in zip(channels, encoder.strides)]


@pytest.mark.parametrize("name", ["seresnext26d_32x4d", "legacy_seresnext26_32x4d"])
@pytest.mark.parametrize("stem_pool", [True, False])
def test_gates_stand_behind_the_chosen_features(name, stem_pool) -> None:
    with torch.device("meta"):
        encoder = Encoder(name, 1, stem_pool=stem_pool, attention="scse", attention_stages=(1, 4)).eval()
        shapes = [tuple(x.shape[1:]) for x in encoder(torch.zeros(1, 1, 64, 64))]
    gated = [p.shape[1] for n, p in encoder.named_parameters() if n.endswith("gate.spatial.conv.weight")]
    assert gated == [encoder.channels[0], encoder.channels[3]] == ([64, 1024] if stem_pool else [256, 2048])
    assert shapes == [(c, 64 // s, 64 // s) for c, s in zip(encoder.channels, encoder.strides)]


@pytest.mark.parametrize("name", ["resnet18", "legacy_seresnet18"])
def test_the_stems_pool_is_all_that_is_removed(name) -> None:
    torch.manual_seed(0)
    pooled, encoder = Encoder(name, 3).eval(), Encoder(name, 3, stem_pool=False).eval()
    encoder.load_state_dict(pooled.state_dict())
    pool = next(m for m in pooled.modules() if isinstance(m, nn.MaxPool2d))
    pixels = torch.randint(0, 256, (1, 3, 64, 64))
    stem = "act1" if name == "resnet18" else "layer0"
    seen = {}
    for key, net in (("pooled", pooled.net), ("bare", encoder.net)):
        net[stem].register_forward_hook(lambda m, a, out, key=key: seen.__setitem__(key, out.clone()))
        net["layer1"].register_forward_pre_hook(lambda m, a, key=key: seen.__setitem__(f"{key} in", a[0].clone()))
    with torch.no_grad():
        pooled(pixels)
        encoder(pixels)
    assert torch.equal(seen["bare"], seen["pooled"]) and torch.equal(seen["bare in"], seen["bare"])
    assert torch.equal(seen["pooled in"], pool(seen["pooled"]))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("vit_tiny_patch16_224", "strides 16, 16, 16"),
        ("inception_v4", "strides 2.0"),
        ("resnet_34", "did you mean resnet34?"),
        ("resnet34.a9_in1k", "a1_in1k"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, problem) -> None:
    with pytest.raises(SegfoldError, match=name.partition(".")[0]) as error:
        Encoder(name, 3)
    assert problem in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_encoder_with_a_fixed_size_says_so() -> None:
    with torch.device("meta"):
        model = build_model("unet", 3, 1, encoder="maxvit_rmlp_pico_rw_256", weights="none", decoder_channels=8)
        assert model.stride == 256
        with pytest.raises(SegfoldError, match=r"64×64.*multiples of 256"):
            model(torch.zeros(1, 3, 64, 64))
        options = {"img_size": 128}
        model = build_model("unet", 3, 1, encoder="maxvit_rmlp_pico_rw_256", weights="none", encoder_options=options)
        assert model.stride == 128
        assert model(torch.zeros(2, 3, 128, 128)).logits.shape == (2, 1, 128, 128)
        model = build_model("unet", 3, 1, encoder="coatnet_nano_rw_224", weights="none", decoder_channels=8)
        with pytest.raises(SegfoldError, match=r"448×448.*224×224 only"):
            model(torch.zeros(1, 3, 448, 448))


def test_encoder_options_reach_timm() -> None:
    rates = [
        m.drop_prob
        for m in Encoder("resnet18", 3, options={"drop_path_rate": 0.2}).modules()
        if type(m).__name__ == "DropPath"
    ]
    assert max(rates) == pytest.approx(0.2)
    with pytest.raises(SegfoldError, match="no_such_option"):
        Encoder("resnet18", 3, options={"no_such_option": 1})


@pytest.mark.parametrize("name", ["resnet18", "seresnet18", "legacy_seresnet18", "densenet121", "dpn68"])
def test_without_stem_pool_stages_are_twice_as_large(name) -> None:
    with torch.device("meta"):
        pooled = Encoder(name, 3).eval()
        encoder = Encoder(name, 3, stem_pool=False).eval()
        shapes = [x.shape[2] for x in encoder(torch.zeros(1, 3, 128, 128))]
    assert encoder.strides == (2, 4, 8, 16) and encoder.divisor == 16 and shapes == [64, 32, 16, 8]
    assert encoder.channels == pooled.channels[1:]
    assert sum(p.numel() for p in encoder.parameters()) == sum(p.numel() for p in pooled.parameters())


def test_no_stem_pool_to_remove_is_refused_by_name() -> None:
    with pytest.raises(SegfoldError, match=r"efficientnet_b0 has no max-pool.*model\.stem_pool=true"):
        Encoder("efficientnet_b0", 3, stem_pool=False)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "swin_tiny_patch4_window7_224"])
def test_attention_in_the_encoder_gates_what_later_stages_see(name) -> None:
    torch.manual_seed(0)
    plain = Encoder(name, 3).eval()
    gated = Encoder(name, 3, attention="scse").eval()
    # Same weights: the gates stand behind the stages, all else keeps its order.
    own = [p for n, p in gated.named_parameters() if ".gate." not in n]
    assert [p.shape for p in own] == [p.shape for p in plain.parameters()]
    with torch.no_grad():
        for p, source in zip(own, plain.parameters(), strict=True):
            p.copy_(source)
        pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()
        # scSE starts as the identity …
        before = gated(pixels)
        for x, y in zip(before, plain(pixels)):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)
        # … and a change of the first stage's gate reaches the deepest feature.
        first = next(p for n, p in gated.named_parameters() if n.endswith("gate.channel.excite.bias"))
        first += torch.randn_like(first) * 3
        after = gated(pixels)
    assert all((x - y).abs().max() > 1e-4 for x, y in zip(before, after))
    assert sum(".gate.spatial" in n for n, _ in gated.named_parameters()) == len(gated.channels)


@pytest.mark.parametrize("name", ["hrnet_w18_small", "selecsls42"])
def test_encoder_without_a_place_for_attention_is_refused(name) -> None:
    with torch.device("meta"), pytest.raises(SegfoldError, match=rf"{name}.*model\.encoder_attention=none"):
        Encoder(name, 3, attention="scse")


def test_input_layer_normalises_raw_pixels_of_any_type() -> None:
    encoder = Encoder("resnet18", 3)
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = (pixels / 255 - mean) / std
    torch.testing.assert_close(encoder.input(pixels), expected)
    torch.testing.assert_close(encoder.input(pixels.double()), expected)


@pytest.mark.parametrize(("channels", "expected"), [(1, [0.449]), (4, [0.485, 0.456, 0.406, 0.485])])
def test_input_layer_for_any_number_of_channels(channels, expected) -> None:
    encoder = Encoder("resnet18", channels)
    torch.testing.assert_close(encoder.input.mean.flatten(), 255 * torch.tensor(expected))
    assert encoder(torch.zeros(1, channels, 64, 64))[-1].shape == (1, 512, 2, 2)


def test_offline_names_both_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SegfoldError) as error:
        Encoder("resnet34", 3, "imagenet")
    message = str(error.value)
    assert "resnet34" in message and "model.weights=none" in message and "model.weights=PATH" in message
    assert "\n" not in message


def test_encoder_that_was_never_pretrained() -> None:
    with pytest.raises(SegfoldError, match=r"no pretrained weights of convnext_atto_rms.*model\.weights=none"):
        Encoder("convnext_atto_rms", 3, "imagenet")
    with pytest.raises(SegfoldError, match=r"of seresnet101 \(it has those of legacy_seresnet101\)"):
        Encoder("seresnet101", 3, "imagenet")


def test_batch_norms_of_the_encoder_train() -> None:
    encoder = Encoder("resnet10t", 3).train()
    norm = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    encoder(torch.randint(0, 256, (2, 3, 64, 64)))
    assert (norm.running_mean != before).any()


def test_a_dilated_encoder_may_keep_few_strides_where_every_stage_is_asked_for() -> None:
    with torch.device("meta"):
        encoder = Encoder("convnext_atto", 3, options={"output_stride": 8}, every_stage=True)
        assert encoder.strides == (4, 8, 8, 8) and encoder.divisor == 8
        with pytest.raises(SegfoldError, match=r"strides 4, 8, 8, 8; needed are three or more"):
            Encoder("convnext_atto", 3, options={"output_stride": 8})
