"""Every model but the U-Net, which has tests of its own: what it promises to data, losses and training."""

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import nn

from segfold.errors import SegfoldError
from segfold.losses import HeadTerm, StageLoss
from segfold.models import MODELS, build_model, margin_of

ENCODER = {"encoder": "test_resnet", "weights": "none"}
SMALL: dict[str, dict[str, Any]] = {
    "linknet": ENCODER,
    "dlinknet": {**ENCODER, "dilations": (1, 2), "centre_channels": 16},
    "fc_densenet": {"layers": (2, 3), "bottleneck": 2, "growth": 4, "first_channels": 8, "dropout": 0.2},
    "frrn": {"channels": 4, "residual_channels": 3},
    "deconvnet": {"weights": "none", "width": 4, "fc_width": 32, "fc_kernel": 1},
    "fcn": {"encoder": "vgg16_bn", "weights": "none", "width": 2, "fc_width": 32, "pad": 82},
    "gcn": {**ENCODER, "channels": 8},
    "fcn_dilated": {**ENCODER, "channels": 16},
    "fcn_skips": ENCODER,
    "unet_original": {"width": 8, "depth": 1},
    "unet_s5_d16": {"base_channels": 8},
}
"""Settings that make a model small; one that is not named is small as it is."""
STRIDES = {
    "linknet": 32,
    "dlinknet": 32,
    "fc_densenet": 1,
    "frrn": 16,
    "deconvnet": 1,
    "fcn": 1,
    "gcn": 32,
    "fcn_dilated": 8,
    "fcn_skips": 32,
    "unet_original": 2,
    "unet_s5_d16": 16,
}
RATES = {"dlinknet": 3e-3, "deconvnet": 3e-2}
"""Learning rates of thirty steps where 0.01 does not suit: DeconvNet's last layer starts small."""
DECODERS = {"decoder", "decode_head", "scores", "refine", "doublings", "tail", "up", "last", "merged"}
"""Parts that lie behind what the image head sees."""
OTHERS = [name for name in MODELS if name != "unet"]
HEADED = [name for name in OTHERS if "heads" in inspect.signature(MODELS[name]).parameters]
IMAGE_HEAD = {name: {"heads": {"image": True}} if name in HEADED else {} for name in OTHERS}
IMAGE_SHAPE = {name: {"image": (2, 1)} if name in HEADED else {} for name in OTHERS}
models = pytest.mark.parametrize("name", OTHERS)
headed = pytest.mark.parametrize("name", HEADED)


def small(name: str, in_channels: int = 3, classes: int = 1, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, in_channels, classes, **{**SMALL.get(name, {}), **settings})


def inside(name: str, planes: torch.Tensor) -> torch.Tensor:
    """What a model says something of: all of its input but its margin."""
    margin = margin_of(name, SMALL.get(name, {}))
    return planes[..., margin : planes.shape[-2] - margin, margin : planes.shape[-1] - margin]


def pixels(n: int = 2, channels: int = 3, height: int = 64, width: int = 64) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=draw)


def _see(model: nn.Module, x: torch.Tensor) -> None:
    """Leaves the norms of a model in eval mode with the statistics of ``x`` alone."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    model.train()(x)
    model.eval()


def test_every_model_is_held_to_these_laws() -> None:
    assert set(SMALL) == set(STRIDES) <= set(HEADED)
    for builder in MODELS.values():
        for parameter in inspect.signature(builder).parameters.values():
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert parameter.name in ("in_channels", "classes") or parameter.default is not parameter.empty


@models
@pytest.mark.parametrize(("in_channels", "classes"), [(1, 3), (5, 1)])
def test_logits_have_the_input_size_without_its_margin(name: str, in_channels: int, classes: int) -> None:
    with torch.device("meta"):
        model = small(name, in_channels, classes, **IMAGE_HEAD[name])
        assert model.stride == STRIDES.get(name, model.stride)
        for height, width, mode in ((64, 96, True), (32, 128, False)):
            out = model.train(mode)(torch.empty(2, in_channels, height, width, dtype=torch.uint8))
            assert out.logits.shape == inside(name, torch.empty(2, classes, height, width)).shape
            assert {head: logits.shape for head, logits in out.heads.items()} == IMAGE_SHAPE[name]


@models
def test_inputs_that_do_not_fit_are_refused_in_one_line(name: str) -> None:
    with torch.device("meta"):
        model = small(name)
        with pytest.raises(SegfoldError, match=r"3 channels.*1"):
            model(torch.empty(1, 1, 64, 64))
        if model.stride > 1:
            with pytest.raises(SegfoldError, match=rf"64×101.*multiples of {model.stride}.*input\.size"):
                model(torch.empty(1, 3, 64, 101))
        if name in HEADED:
            with pytest.raises(SegfoldError, match=r"head_channels is 0"):
                small(name, heads={"image": True}, head_channels=0)


@models
def test_uint8_and_float_pixels_are_the_same_images_in_eval(name: str) -> None:
    model = small(name, 2).eval()
    for parameter in model.parameters():
        if not parameter.any():  # scores that start at zero say the same of every image
            nn.init.constant_(parameter, 0.1)
    x = pixels(channels=2, height=32, width=32)
    with torch.no_grad():
        if name == "deconvnet":  # its small weights fade to nothing behind norms that have seen nothing yet
            _see(model, x)
        out = model(x).logits
        assert torch.equal(out, model(x.float()).logits)
        assert torch.equal(out, model(x).logits)
        assert not torch.equal(out, model(x // 2).logits)


@models
def test_start_is_undecided(name: str) -> None:
    model = small(name).train()
    with torch.no_grad():
        assert torch.sigmoid(model(pixels()).logits).sub(0.5).abs().max() < 0.45


@models
def test_every_parameter_learns(name: str) -> None:
    model = small(name, **IMAGE_HEAD[name]).train()
    x, y = pixels(), (torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    out = model(x)
    loss = StageLoss({"bce": (1.0, {}), "dice": (1.0, {})}, heads={"image": HeadTerm(0.1)} if name in HEADED else {})
    total, parts = loss(out.logits, out.heads, inside(name, y))
    total.backward()
    assert set(parts) == {"bce", "dice"} | ({"image"} if name in HEADED else set())
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@headed
def test_the_image_head_reaches_no_decoder(name: str) -> None:
    model = small(name, heads={"image": True}).train()
    model(pixels()).image.sum().backward()
    behind = [p.grad for n, p in model.named_parameters() if DECODERS & set(n.split(".")) and n[:5] != "image"]
    assert len(behind) > 4 and all(gradient is None for gradient in behind)


@models
def test_a_missing_image_head_is_named(name: str) -> None:
    out = small(name)(pixels(height=32, width=32))
    with pytest.raises(SegfoldError, match=r"model\.heads\.image=true"):
        StageLoss({"bce": (1.0, {})}, {"image": HeadTerm(0.1)})(out.logits, out.heads, torch.zeros_like(out.logits))


@models
def test_eight_images_are_learnt(name: str) -> None:
    """Bright discs: thirty steps halve the loss."""
    model = small(name, 1, **IMAGE_HEAD[name]).train()
    draw = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    centres = torch.randint(8, 24, (8, 2, 1, 1), generator=draw)
    masks = (((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) < 49).float()[:, None]
    images = 60 + 120 * masks + 20 * torch.randn(8, 1, 32, 32, generator=draw)
    loss = StageLoss({"bce": (1.0, {}), "dice": (1.0, {})}, heads={"image": HeadTerm(0.05)} if name in HEADED else {})
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATES.get(name, 1e-2))
    values = []
    for _ in range(30):
        out = model(images)
        total, _ = loss(out.logits, out.heads, inside(name, masks))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < values[0] / 2, values


def test_a_network_with_checkpoints_compiles_in_one_piece() -> None:
    model = small("fc_densenet", heads={"image": True}, dropout=0.0, checkpoint=True).train()
    compiled = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    x = pixels(height=32, width=32)
    a, b = model(x), compiled(x)
    torch.testing.assert_close(a.logits, b.logits)
    torch.testing.assert_close(a.image, b.image)


@pytest.mark.parametrize("name", ["linknet", "dlinknet", "gcn", "fcn_skips"])
def test_decoders_compile_in_one_piece(name: str) -> None:
    """The encoder, most of a compiler's work, is held to this in the U-Net's tests, FRRN's scales in their own."""
    model = small(name).eval()
    with torch.no_grad():
        features = model.encoder(pixels())
        compiled = torch.compile(model.decode, backend="eager", fullgraph=True)
        for a, b in zip(model.decode(features), compiled(features), strict=True):
            torch.testing.assert_close(a, b)
