"""FRRN: published sizes, the two streams, and where they meet."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segfold.models import build_model
from segfold.models.frrn import FullResolutionUnit, ResidualUnit, Scale


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("variant", "parameters", "stride"), [("A", 17_746_803, 16), ("B", 24_755_699, 32)])
def test_published_sizes(variant: str, parameters: int, stride: int) -> None:
    with torch.device("meta"):
        model = build_model("frrn", 3, 19, variant=variant)
        assert count(model) == parameters
        assert model.stride == stride
        out = model(torch.empty(2, 3, 2 * stride, 3 * stride))
    assert out.logits.shape == (2, 19, 2 * stride, 3 * stride)


@pytest.mark.parametrize(
    ("variant", "streams"),
    [
        ("A", [(96, 2)] * 3 + [(192, 4)] * 4 + [(384, 8)] * 2 + [(384, 16)] * 2 + [(192, 8)] * 2 + [(192, 4)] * 2),
        (
            "B",
            [(96, 2)] * 3
            + [(192, 4)] * 4
            + [(384, 8)] * 2
            + [(384, 16)] * 2
            + [(384, 32)] * 2
            + [(192, 16)] * 2
            + [(192, 8)] * 2
            + [(192, 4)] * 2,
        ),
    ],
)
def test_published_units(variant: str, streams: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        model = build_model("frrn", 3, 1, variant=variant)
        found = []
        for module in model.modules():
            if isinstance(module, FullResolutionUnit):
                module.register_forward_hook(
                    lambda m, args, out: found.append((out[0].shape[1], 64 // out[0].shape[2], out[1].shape[1:]))
                )
        model(torch.empty(1, 3, 64, 64))
    assert [unit[:2] for unit in found] == [*streams, (96, 2), (96, 2)]
    assert {unit[2] for unit in found} == {(32, 64, 64)}


def test_a_unit_by_hand() -> None:
    torch.manual_seed(0)
    unit = FullResolutionUnit(2, 4, 3, stride=4).eval()
    nn.init.normal_(unit.back.bias)
    pooled, residual = torch.randn(1, 2, 3, 3), torch.randn(1, 3, 12, 12)
    with torch.no_grad():
        largest = residual.reshape(1, 3, 3, 4, 3, 4).amax(dim=(3, 5))
        expected = unit.second(unit.first(torch.cat([pooled, largest], dim=1)))
        found, carried = unit(pooled, residual)
        torch.testing.assert_close(found, expected)
        spread = unit.back(expected).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        torch.testing.assert_close(carried, residual + spread)
    assert (found >= 0).all()


def test_with_silent_units_the_residual_stream_arrives_untouched() -> None:
    """1×1 convolutions back of weight zero add nothing: what was split off is what is merged."""
    torch.manual_seed(0)
    model = build_model("frrn", 1, 1, channels=4, residual_channels=3).eval()
    for unit in model.modules():
        if isinstance(unit, FullResolutionUnit):
            nn.init.zeros_(unit.back.weight)
    seen = {}
    model.split.register_forward_hook(lambda m, args, out: seen.update(split=out))
    model.merged.register_forward_pre_hook(lambda m, args: seen.update(merged=args[0]))
    with torch.no_grad():
        model(torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8))
    assert torch.equal(seen["merged"][:, -3:], seen["split"])
    assert seen["merged"].shape[1] == 2 * 4 + 3


def test_residual_units_add_their_input() -> None:
    torch.manual_seed(0)
    same, wider = ResidualUnit(4, 4).eval(), ResidualUnit(3, 5).eval()
    x = torch.randn(1, 4, 6, 6)
    for unit in (same, wider):
        nn.init.zeros_(unit.second[1].weight)
    with torch.no_grad():
        assert torch.equal(same(x), x)
        torch.testing.assert_close(wider(x[:, :3]), F.conv2d(x[:, :3], wider.project.weight))
    assert count(wider) == 3 * 5 + 9 * 3 * 5 + 2 * 5 + 9 * 5 * 5 + 2 * 5


def test_a_scale_compiles_in_one_piece_with_the_same_result() -> None:
    torch.manual_seed(0)
    scale = Scale(2, 3, 4, 2, stride=2).train()
    compiled = torch.compile(copy.deepcopy(scale), backend="eager", fullgraph=True)
    streams = torch.randn(2, 3, 4, 4), torch.randn(2, 2, 8, 8)
    for a, b in zip(scale(*streams), compiled(*streams), strict=True):
        torch.testing.assert_close(a, b)
