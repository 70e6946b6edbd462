"""GCN: published sizes and shapes, its block against the dense kernel that it stands for, refinements, and kernels."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmarks.peers.dense_kernel import dense_kernel
from safetensors.numpy import load_file
from torch import nn

from segfold.cli import main
from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.models.gcn import map_kernels
from segfold.models.gcn_blocks import BoundaryRefinement, GCNBlock
from small_project import fold_job, make_project, train, weights


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def meta(classes: int = 21, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_model("gcn", 3, classes, **{"weights": "none", **settings})


@pytest.mark.parametrize(
    ("kernel", "separable", "dense"),
    [(3, 260_694, 387_072), (5, 434_490, 1_075_200), (7, 608_286, 2_107_392), (9, 782_082, 3_483_648)],
)
def test_published_sizes_of_the_block(kernel: int, separable: int, dense: int) -> None:
    """The paper's 260K, 434K, 608K, 782K on ResNet50's deepest feature; beside them its trivial k×k convolutions."""
    with torch.device("meta"):
        assert count(GCNBlock(2048, 21, kernel, bias=False)) == separable
        assert count(nn.Conv2d(2048, 21, kernel, bias=False)) == dense


@pytest.mark.parametrize(
    ("encoder", "kernel", "classes", "parameters"),
    [
        ("resnet50", 7, 21, 24_733_844),
        ("resnet50", 15, 21, 26_052_308),
        ("resnet50", 7, 1, 23_562_044),
        ("resnet101", 7, 21, 43_725_972),
        ("resnet152", 15, 21, 60_688_084),
    ],
)
def test_published_sizes(encoder: str, kernel: int, classes: int, parameters: int) -> None:
    assert count(meta(classes, encoder=encoder, kernel=kernel, upsampling="bilinear")) == parameters


def test_five_dense_deconvolutions_are_all_that_the_default_adds() -> None:
    model = meta()
    assert len(model.up) == 5 and count(model.up) == 35_280 and count(model) == 24_733_844 + 35_280


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_the_block_is_a_dense_convolution_borders_included(kernel: int) -> None:
    torch.manual_seed(0)
    block = GCNBlock(5, 3, kernel, bias=False).double()
    x = torch.randn(2, 5, 12, 9, dtype=torch.float64)
    dense = dense_kernel(list(block.parameters()))
    torch.testing.assert_close(block(x), F.conv2d(x, dense, padding=kernel // 2), atol=1e-12, rtol=0)


def test_an_impulse_reaches_exactly_the_kernel() -> None:
    torch.manual_seed(0)
    x = torch.zeros(1, 1, 15, 15)
    x[..., 7, 7] = 1
    reached = GCNBlock(1, 2, 7)(x).abs().sum(1)[0] > 0
    expected = torch.zeros(15, 15, dtype=torch.bool)
    expected[4:11, 4:11] = True
    assert torch.equal(reached, expected)


def test_a_block_keeps_the_deviation_of_its_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 64, 32, 32)
    for gain in (1.0, 0.1):
        assert GCNBlock(64, 32, 7, gain=gain)(x)[..., 6:-6, 6:-6].std().item() == pytest.approx(gain, rel=0.15)


@pytest.mark.parametrize(("channels", "parameters"), [(21, 7_980), (1, 20), (2, 76)])
def test_a_refinement_without_its_last_convolution_is_the_identity(channels: int, parameters: int) -> None:
    refine = BoundaryRefinement(channels)
    assert count(refine) == parameters
    x = torch.randn(2, channels, 7, 5)
    assert not torch.equal(refine(x), x)
    nn.init.zeros_(refine.residual[2].weight)
    assert torch.equal(refine(x), x)


@pytest.mark.parametrize(
    ("settings", "stride", "refinements"),
    [
        ({}, 32, 9),
        ({"boundary": False}, 32, 0),
        ({"stem_pool": False, "channels": 8}, 16, 8),
        ({"encoder": "convnext_atto", "upsampling": "bilinear"}, 32, 9),
        ({"encoder": "mobilenetv3_small_100", "kernel": (3, 5, 7, 9)}, 32, 9),
        ({"encoder": "vgg16_bn", "upsampling": "bilinear"}, 32, 9),
    ],
)
def test_logits_have_the_input_size_on_any_encoder(settings: dict[str, object], stride: int, refinements: int) -> None:
    model = meta(2, **settings)
    assert model.stride == stride
    assert sum(isinstance(part, BoundaryRefinement) for part in model.modules()) == refinements
    for height, width in ((480, 512), (128, 128), (stride, 3 * stride)):
        assert model(torch.empty(2, 3, height, width, device="meta")).logits.shape == (2, 2, height, width)


def test_published_shapes() -> None:
    model = meta()
    levels = model.decode(model.encoder(torch.empty(1, 3, 512, 512, device="meta")))
    assert [tuple(level.shape[1:]) for level in levels] == [(21, side, side) for side in (16, 32, 64, 128, 256, 512)]


def test_score_maps_are_summed_from_coarse_to_fine() -> None:
    """The pipeline of the paper's figure 2, written out."""
    torch.manual_seed(0)
    model = build_model("gcn", 3, 2, encoder="test_resnet", weights="none")
    f2, f3, f4, f5 = features = model.encoder(torch.randint(0, 256, (1, 3, 64, 96)))[-4:]
    (g5, g4, g3, g2), (u4, u3, u2, u1, u0), (r4, r3, r2, r1, r0) = model.scores, model.up, model.refine
    s5 = g5(f5)
    s4 = r4(u4(s5) + g4(f4))
    s3 = r3(u3(s4) + g3(f3))
    s2 = r2(u2(s3) + g2(f2))
    expected = [s5, s4, s3, s2, r1(u1(s2)), r0(u0(r1(u1(s2))))]
    for found, level in zip(model.decode(features), expected, strict=True):
        torch.testing.assert_close(found, level)


def test_deconvolutions_start_as_bilinear_upsampling() -> None:
    model = build_model("gcn", 3, 1, encoder="test_resnet", weights="none", channels=3)
    x = torch.randn(1, 3, 8, 6)
    found = model.up[0](x)[..., 1:-1, 1:-1]  # beyond the border one sees zeros, the other its edge
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected[..., 1:-1, 1:-1])


def kernels(model: nn.Module) -> list[int]:
    """From the finest scale to the coarsest."""
    return [block[0].left[0].kernel_size[0] for block in model.scores][::-1]


def test_kernels_are_one_or_four_or_those_of_the_maps() -> None:
    def small(**settings: object) -> list[int]:
        return kernels(meta(encoder="test_resnet", **settings))

    assert small(kernel=15) == [15] * 4
    assert small(kernel=(9, 7, 5, 3)) == [9, 7, 5, 3]
    assert small(kernel="map") == [55, 27, 13, 7]
    assert small(kernel="map", map_side=512) == [127, 63, 31, 15]
    assert small(kernel="map", map_side=128, stem_pool=False) == [63, 31, 15, 7]
    assert map_kernels(32, (4, 8, 16, 32)) == (7, 3, 1, 1) and map_kernels(800, (32,)) == (25,)


@pytest.mark.parametrize("kernel", [8, (7, 7, 8, 7)])
def test_even_kernels_are_refused_with_the_nearest_odd_ones(kernel: object) -> None:
    with pytest.raises(SegfoldError, match=r"^model\.kernel(\.2)?: Input should be odd, .*: 7 or 9.*, found 8$"):
        meta(kernel=kernel)
    with pytest.raises(ValueError, match="7 or 9"):
        GCNBlock(1, 1, 8)


def test_encoders_of_other_scales_are_refused() -> None:
    with pytest.raises(SegfoldError, match=r"resnet50 gives features at strides 2, 4, 8; .*choose another"):
        meta(encoder_options={"output_stride": 8})


SMALL = "model={name: gcn, encoder: test_resnet, weights: none, channels: 4, kernel: 3}"


def test_a_resting_encoder_and_then_the_whole_are_two_ordinary_stages(tmp_path: Path) -> None:
    home = make_project(tmp_path)
    less = (SMALL, "ema=null", "sample.images=4")
    one = "stages.warm={epochs: 1, freeze_encoder: 1, snapshots: true, schedule: constant}"
    both = fold_job(home, *less, one, run="both")
    longer = fold_job(home, *less, "stages.warm={epochs: 2, freeze_encoder: 2}", "stages.lovasz.epochs=0", run="longer")
    train(both), train(longer)
    resting = load_file(both.folder.weights("snapshot1"))

    def learnt(after: dict[str, np.ndarray]) -> set[str]:
        return {name.split(".")[0] for name in after if not np.array_equal(after[name], resting[name])}

    decoder = {"scores", "up", "refine", "last"}
    assert learnt(weights(longer)) == decoder
    assert learnt(weights(both)) == {"encoder", *decoder}


def test_an_even_kernel_is_refused_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(make_project(tmp_path))
    assert main(["train", "--config", "configs/small.yaml", "--fold", "0", SMALL, "model.kernel=14"]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and "model.kernel: Input should be odd" in said and "13 or 15" in said


def test_one_score_map_is_enough_to_learn_by() -> None:
    """The paper's form of a binary task: the logits are the score maps, undecided at first."""
    torch.manual_seed(0)
    model = build_model("gcn", 1, 1, encoder="test_resnet", weights="none").train()
    draw = torch.Generator().manual_seed(1)
    masks = torch.zeros(8, 1, 32, 32)
    for mask, (top, left) in zip(masks, torch.randint(2, 16, (8, 2), generator=draw).tolist()):
        mask[:, top : top + 14, left : left + 14] = 1
    images = 60 + 120 * masks + 20 * torch.randn(8, 1, 32, 32, generator=draw)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    values = []
    for step in range(30):
        logits = model(images).logits
        loss = F.binary_cross_entropy_with_logits(logits, masks)
        if step == 0:
            assert logits.abs().max() < 1
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0] / 2, values
