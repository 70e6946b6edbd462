"""Attention gates, hypercolumns and heads against hand-computed numbers and the laws they follow."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segfold.errors import SegfoldError
from segfold.models.blocks import (
    ChannelGate,
    ChannelSpatialGate,
    DecoderBlock,
    SpatialGate,
    attention_block,
    chosen_stages,
    conv_bn,
    resize,
    upsample,
)
from segfold.models.centres import plain
from segfold.models.heads import Features, ImageHead, LevelHeads, Offer, PixelHead, hypercolumn

U = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, -1.0], [1.0, 2.0]]]])


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def example_gates(module: ChannelSpatialGate) -> ChannelSpatialGate:
    """The weights of the worked example: W2=[[1,1]], W1=[[1],[-1]], W_sq=(.5,-.5), no biases."""
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.channel.squeeze.weight.copy_(torch.tensor([[1.0, 1.0]]))
        module.channel.excite.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        module.spatial.conv.weight.copy_(torch.tensor([0.5, -0.5]).view(1, 2, 1, 1))
    return module


def levels(channels: tuple[int, ...] = (64,) * 5, size: int = 128, n: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(n, c, size >> i, size >> i) for i, c in enumerate(channels)]


def test_gates_of_the_worked_example() -> None:
    block = example_gates(ChannelSpatialGate(2, reduction=2))
    torch.testing.assert_close(block.channel.gates(U), torch.tensor([[0.952574, 0.047426]]), atol=1e-6, rtol=0)
    expected = torch.tensor([[[[0.6225, 0.8176], [0.7311, 0.7311]]]])
    torch.testing.assert_close(block.spatial.gates(U), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        ("sum", [[[1.5750, 3.5403], [5.0509, 6.7345]], [[0, -0.8650], [0.7785, 1.5570]]]),
        ("max", [[[0.9526, 1.9051], [2.8577, 3.8103]], [[0, -0.0474], [0.7311, 1.4621]]]),
        # 0.952574·0.6225·1², 0.047426·0.8176·1², …
        ("mul", [[[0.5929, 3.1153], [6.2675, 11.1422]], [[0, 0.0388], [0.0347, 0.1387]]]),
    ],
)
def test_scse_of_the_worked_example(combine, expected) -> None:
    block = example_gates(ChannelSpatialGate(2, reduction=2, combine=combine))
    torch.testing.assert_close(block(U), torch.tensor([expected]), atol=2e-4, rtol=0)


def test_scse_by_concatenation_projects_both_gated_maps() -> None:
    block = example_gates(ChannelSpatialGate(2, reduction=2, combine="concat"))
    with torch.no_grad():  # outputs: the channel-gated first channel, the spatially gated second one
        block.project.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1]]).view(2, 4, 1, 1))
    expected = [[[0.9526, 1.9051], [2.8577, 3.8103]], [[0, -0.8176], [0.7311, 1.4621]]]
    torch.testing.assert_close(block(U), torch.tensor([expected]), atol=2e-4, rtol=0)
    assert count(ChannelSpatialGate(64, 2, "concat")) == 4_257 + 2 * 64 * 64


def test_concatenation_starts_as_the_sum() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 5)
    summed, joined = ChannelSpatialGate(8, 2), ChannelSpatialGate(8, 2, "concat")
    joined.load_state_dict({**joined.state_dict(), **summed.state_dict()})
    torch.testing.assert_close(joined(x), summed(x))
    torch.testing.assert_close(attention_block("scse", 8, combine="concat")(x), x)


def test_gates_lie_strictly_between_zero_and_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 16, 8, 8)
    for gates in (ChannelGate(16, 4).gates(x), SpatialGate(16).gates(x)):
        assert gates.min() > 0 and gates.max() < 1


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (ChannelGate(64, 2), 4_192),
        (ChannelGate(512, 2), 262_912),
        (SpatialGate(64), 65),
        (SpatialGate(64, bias=False), 64),
        (ChannelSpatialGate(64, 2), 4_257),
        (ChannelSpatialGate(512, 2), 263_425),
        (ChannelSpatialGate(64, 16), 645),
        (ChannelSpatialGate(256, 16), 8_721),
        (ChannelSpatialGate(512, 16), 33_825),
        (ChannelGate(4, 16), 4 * 1 + 1 + 1 * 4 + 4),  # never fewer than one hidden channel
    ],
)
def test_parameters_of_gates(module, expected) -> None:
    assert count(module) == expected


def test_zero_weights_make_scse_the_identity_and_that_is_how_it_starts() -> None:
    x = torch.randn(2, 32, 5, 5)
    block = ChannelSpatialGate(32, 16)
    for p in block.parameters():
        nn.init.zeros_(p)
    torch.testing.assert_close(block(x), x)
    torch.testing.assert_close(attention_block("scse", 32)(x), x)
    for kind in ("cse", "sse"):
        torch.testing.assert_close(attention_block(kind, 32)(x), x / 2)
    assert attention_block("none", 32)(x) is x


@pytest.mark.parametrize("kind", ["cse", "sse", "scse"])
def test_every_weight_of_a_gate_learns(kind) -> None:
    torch.manual_seed(0)
    gate = attention_block(kind, 16, reduction=2)
    x, target = torch.randn(4, 16, 6, 6), torch.randn(4, 16, 6, 6)
    optimizer = torch.optim.SGD(gate.parameters(), lr=1.0)
    start = [p.detach().clone() for p in gate.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(gate(x), target).backward()
        optimizer.step()
    assert all((p != before).any() for p, before in zip(gate.parameters(), start))


def test_decoder_block_is_the_published_chain() -> None:
    torch.manual_seed(0)
    block = DecoderBlock(8, 4, 6, 5, attention_block("scse", 5), 0.5, bias=False).eval()
    x, skip = torch.randn(2, 8, 4, 4), torch.randn(2, 4, 8, 8)
    y = torch.cat([F.interpolate(x, (8, 8), mode="bilinear", align_corners=False), skip], 1)
    for conv, norm in ((block.conv1[0], block.conv1[1]), (block.conv2[0], block.conv2[1])):
        y = F.conv2d(y, conv.weight, padding=1)
        y = F.relu(F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias))
    torch.testing.assert_close(block(x, skip), block.attention(y))
    assert DecoderBlock(8, 0, 6, 5, nn.Identity(), 0.0, False)(x, None).shape == (2, 5, 8, 8)


def test_decoder_block_with_something_between_its_convolutions() -> None:
    torch.manual_seed(0)
    block = DecoderBlock(8, 0, 6, 5, nn.Identity(), 0.0, False, nn.Sigmoid()).eval()
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(block(x, None), block.conv2(torch.sigmoid(block.conv1(upsample(x, 2)))))


def test_convolution_norm_activation_of_any_kernel() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 9)
    for kernel, stride, dilation, size in ((1, 1, 1, 9), (3, 1, 4, 9), (5, 2, 1, 5)):
        block = conv_bn(4, 6, kernel, nn.ELU(), stride, dilation).eval()
        expected = F.conv2d(x, block[0].weight, stride=stride, padding=dilation * (kernel // 2), dilation=dilation)
        torch.testing.assert_close(block(x), F.elu(expected / (1 + 1e-5) ** 0.5))
        assert block(x).shape == (2, 6, size, size)


def test_chosen_stages_count_from_one() -> None:
    assert chosen_stages("all", 3, "x", "y") == {1, 2, 3} and chosen_stages((), 3, "x", "y") == set()
    assert chosen_stages((3, 1), 3, "x", "y") == {1, 3}
    for wrong in (0, 4, -1):
        with pytest.raises(SegfoldError, match=rf"model\.some_stages names stage {wrong}, but it has 3.*finest, to 3"):
            chosen_stages((1, wrong), 3, "some_stages", "it")


def test_resizing_to_a_size_is_upsampling_by_a_factor() -> None:
    x = torch.randn(1, 2, 3, 5)
    torch.testing.assert_close(resize(x, (12, 20)), upsample(x, 4))
    assert resize(x, x.shape[2:]) is x


def test_plain_centre_halves_the_size() -> None:
    centre = plain(512).module
    assert centre(torch.zeros(1, 512, 8, 8)).shape == (1, 256, 4, 4)
    assert count(centre) == 9 * 512 * 512 + 2 * 512 + 9 * 512 * 256 + 2 * 256


def test_upsampling_keeps_pixel_centres() -> None:
    # Corners not aligned: a ramp of pixel centres becomes a ramp of pixel centres, away from the border.
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8) + 0.5
    for factor in (2, 4, 8):
        fine = upsample(ramp, factor)
        centres = (torch.arange(8 * factor) + 0.5) / factor
        torch.testing.assert_close(fine[0, 0, 0, factor:-factor], centres[factor:-factor])
        torch.testing.assert_close(upsample(torch.full((1, 2, 4, 4), 3.0), factor).unique(), torch.tensor([3.0]))


def test_hypercolumn_has_320_channels_and_each_level_in_its_slice() -> None:
    d = levels(n=1)
    h = hypercolumn(d)
    assert h.shape == (1, 320, 128, 128)
    torch.testing.assert_close(h[:, :64], d[0])
    up = F.interpolate(d[1], scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(h[:, 64:128], up)


def test_factorised_hypercolumn_equals_concatenation_then_1x1() -> None:
    channels = (16, 8, 12, 4, 20)
    d = levels(channels, size=64)
    head = PixelHead(channels, 3, "factorised", 0, 0.0)
    for p in head.parameters():
        nn.init.normal_(p)
    joint = nn.Conv2d(sum(channels), 3, 1)
    with torch.no_grad():
        joint.weight.copy_(torch.cat([m.weight for m in head.levels], dim=1))
        joint.bias.copy_(head.levels[0].bias)
    assert count(head) == count(joint)
    torch.testing.assert_close(head(Features(d[-1], d)), joint(hypercolumn(d)), atol=1e-5, rtol=1e-5)


def test_concat_head_is_3x3_relu_1x1_on_the_hypercolumn() -> None:
    d = levels(size=32)
    head = PixelHead([64] * 5, 1, "concat", 64, 0.5).eval()
    assert count(head) == 320 * 64 * 9 + 64 + 64 + 1
    expected = head.last(F.relu(F.conv2d(hypercolumn(d), head.hidden.weight, head.hidden.bias, padding=1)))
    torch.testing.assert_close(head(Features(d[-1], d)), expected)


@pytest.mark.parametrize("form", ["finest", "factorised", "concat"])
def test_pixel_head_sees_the_image_feature_and_the_right_levels(form) -> None:
    d = levels((8, 8, 8), size=16)
    head = PixelHead([8, 8, 8], 2, form, 4, 0.0, feature=5).eval()
    for p in head.parameters():
        nn.init.normal_(p)
    feature = torch.randn(2, 5, 1, 1)
    logits = head(Features(d[-1], d, image=feature))
    assert logits.shape == (2, 2, 16, 16)
    assert (head(Features(d[-1], d, image=feature + 1)) != logits).any()
    coarse = head(Features(d[-1], [d[0], d[1], d[2] + 1], image=feature))
    assert torch.equal(coarse, logits) == (form == "finest")


def test_level_heads_are_separate_and_upsampled() -> None:
    channels = (8, 6, 4)
    d = levels(channels, size=16)
    heads = LevelHeads(Offer(4, 1, hidden=5, levels=channels)).eval()
    out = heads(Features(d[-1], d, stride=2))
    assert out.shape == (2, 3, 1, 32, 32)
    for s in range(3):
        torch.testing.assert_close(out[:, s], upsample(heads.heads[s](d[s]), 2 ** (s + 1)))
    assert count(LevelHeads(Offer(4, 1, hidden=0, levels=channels))) == sum(channels) + 3


def test_image_head_is_the_difference_of_two_scores() -> None:
    torch.manual_seed(0)
    head = ImageHead(Offer(512, 1, hidden=64, dropout=0.5)).eval()
    assert count(head) == 512 * 64 + 64 + 64 * 2 + 2
    deepest = torch.randn(3, 512, 4, 4)
    logit, feature = head(Features(deepest)), head.feature(deepest)
    assert logit.shape == (3, 1) and feature.shape == (3, 64, 1, 1)
    softmax = head.scores(feature).flatten(1).softmax(1)
    torch.testing.assert_close(torch.sigmoid(logit[:, 0]), softmax[:, 1])
