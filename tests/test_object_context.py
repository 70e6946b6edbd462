"""Object context against hand-computed attention, the plain N² formula, and the laws it follows (A 3.10)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segfold.models.object_context import AspOC, BaseOC, ObjectContext, PyramidOC, attend, attend_within, conv_abn


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def plain_attention(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The formula as it stands in the paper: all N² weights at once."""
    k, v = keys.flatten(2), values.flatten(2)
    weights = torch.softmax(k.transpose(1, 2) @ k / k.shape[1] ** 0.5, dim=-1)
    return (v @ weights.transpose(1, 2)).view_as(values)


def awake(module: nn.Module) -> nn.Module:
    """The module in eval mode with projections that no longer start at zero."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, ObjectContext):
            nn.init.normal_(part.project.weight)
            nn.init.normal_(part.project.bias)
    return module.eval()


def test_attention_of_the_worked_example() -> None:
    keys = torch.tensor([[1.0, 0, 1], [0, 1, 1]]).view(1, 2, 1, 3)
    values = torch.tensor([1.0, 2, 3]).view(1, 1, 1, 3)
    context = attend(keys, values).flatten()
    torch.testing.assert_close(context, torch.tensor([2.0, 2.2033, 2.2552]), atol=1e-4, rtol=0)
    # With unit vectors as values the context is the row of weights itself.
    rows = attend(keys, torch.eye(3).view(1, 3, 1, 3))[0, :, 0].T
    expected = [[0.4011, 0.1978, 0.4011], [0.1978, 0.4011, 0.4011], [0.2483, 0.2483, 0.5035]]
    torch.testing.assert_close(rows, torch.tensor(expected), atol=1e-4, rtol=0)


def test_weights_of_every_position_sum_to_one() -> None:
    torch.manual_seed(0)
    keys = 3 * torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(attend(keys, torch.full((2, 4, 5, 7), 2.5)), torch.full((2, 4, 5, 7), 2.5))


@pytest.mark.parametrize("values", [8, 3])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_attention_equals_the_plain_formula_gradients_included(values, memory) -> None:
    torch.manual_seed(0)
    k = torch.randn(2, 8, 6, 5).contiguous(memory_format=memory)
    v = torch.randn(2, values, 6, 5).contiguous(memory_format=memory)
    upstream = torch.randn(2, values, 6, 5)
    results = []
    for function in (attend, plain_attention):
        inputs = [x.clone().requires_grad_() for x in (k, v)]
        out = function(*inputs)
        out.backward(upstream)
        results.append([out.detach(), *(x.grad for x in inputs)])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_attention_knows_no_order_of_positions() -> None:
    torch.manual_seed(0)
    block = awake(BaseOC(8))
    x = torch.randn(1, 8, 4, 4)
    order = torch.randperm(16)
    shuffled = x.flatten(2)[:, :, order].view_as(x)
    torch.testing.assert_close(block(shuffled), block(x).flatten(2)[:, :, order].view_as(x))


def test_regions_keep_to_themselves() -> None:
    torch.manual_seed(0)
    keys, values = torch.randn(1, 4, 6, 6), torch.randn(1, 3, 6, 6)
    torch.testing.assert_close(attend_within(keys, values, 1), plain_attention(keys, values))
    context = attend_within(keys, values, 2)
    for i in (slice(0, 3), slice(3, 6)):
        for j in (slice(0, 3), slice(3, 6)):
            torch.testing.assert_close(context[..., i, j], plain_attention(keys[..., i, j], values[..., i, j]))
    keys[..., 3:, 3:] += 1
    values[..., 3:, 3:] += 1
    changed = attend_within(keys, values, 2) != context
    assert changed[..., 3:, 3:].all() and changed.sum() == 3 * 9


def test_pyramid_oc_of_size_one_is_attention_to_the_whole_map_and_of_size_two_to_quadrants() -> None:
    torch.manual_seed(0)
    whole, quadrants = awake(PyramidOC(8, (1, 2))).contexts
    x = torch.randn(1, 8, 6, 6)
    expected = whole.project(plain_attention(whole.keys(x), whole.values(x)))
    torch.testing.assert_close(whole(x), expected)
    moved = x.clone()
    moved[..., 3:, 3:] += 1
    changed = (quadrants(moved) - quadrants(x)).abs().amax(1)[0] > 1e-6
    assert changed[3:, 3:].all() and changed.sum() == 9
    assert ((whole(moved) - whole(x)).abs().amax(1) > 1e-6).all()


def test_the_last_regions_take_the_rest() -> None:
    torch.manual_seed(0)
    keys, values = torch.randn(1, 4, 8, 4), torch.randn(1, 3, 8, 4)
    context = attend_within(keys, values, 6)  # rows in parts of 1, 1, 1, 1, 1, 3; four columns in four parts
    assert context.shape == values.shape
    torch.testing.assert_close(context[..., :5, :], values[..., :5, :])  # a position alone keeps its value
    torch.testing.assert_close(context[..., 5:, :1], plain_attention(keys[..., 5:, :1], values[..., 5:, :1]))


def test_published_sizes() -> None:
    with torch.device("meta"):
        assert count(conv_abn(2048, 512, 3)) == 9_438_720
        assert count(ObjectContext(512, 256, 256)) == 394_752
        assert count(BaseOC(512)) == 920_576
        assert count(PyramidOC(512)) == 5_782_016
        assert count(AspOC(512)) == 5_739_904
        x = torch.zeros(2, 512, 97, 97)
        assert [m(x).shape for m in (BaseOC(512), PyramidOC(512), AspOC(512))] == [x.shape] * 3


@pytest.mark.parametrize("build", [lambda: ObjectContext(6, 4, 5), lambda: ObjectContext(6, 4, 5, scale=2)])
def test_context_starts_as_zero(build) -> None:
    torch.manual_seed(0)
    block, x = build(), torch.randn(2, 6, 4, 4)
    assert not block(x).any()
    assert awake(block)(x).all()


def test_at_the_start_the_result_does_not_depend_on_attention() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 6, 6)
    for block in (BaseOC(8, scales=(1, 2)), PyramidOC(8), AspOC(8, 4, (1, 2))):
        before = block.eval()(x)
        with torch.no_grad():
            for part in block.modules():
                if isinstance(part, ObjectContext):
                    part.keys[0].weight.mul_(-3)
                    part.values.weight.add_(1)
        assert torch.equal(block(x), before)
        assert not torch.allclose(awake(block)(x), before)


def test_context_at_a_coarser_scale() -> None:
    torch.manual_seed(0)
    block = awake(ObjectContext(6, 4, 5, scale=2))
    fine = awake(ObjectContext(6, 4, 5))
    fine.load_state_dict(block.state_dict())
    x = torch.randn(2, 6, 8, 6)
    expected = F.interpolate(fine(F.max_pool2d(x, 2)), scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(block(x), expected)
    assert block(torch.randn(2, 6, 1, 3)).shape == (2, 6, 1, 3)


def test_base_oc_sums_its_contexts_and_fuses_them_with_the_feature() -> None:
    torch.manual_seed(0)
    block, x = awake(BaseOC(6, scales=(1, 2))), torch.randn(2, 6, 4, 4)
    context = block.contexts[0](x) + block.contexts[1](x)
    conv, norm = block.fuse[0], block.fuse[1]
    y = F.conv2d(torch.cat([context, x], 1), conv.weight, conv.bias)
    y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    torch.testing.assert_close(block(x), F.leaky_relu(y, 0.01))


def test_a_dilation_of_the_maps_size_sees_only_the_middle_tap() -> None:
    torch.manual_seed(0)
    block = AspOC(4, 4, (12, 24, 36)).eval()
    x = torch.randn(1, 4, 8, 8)
    for branch in block.branches[1:]:
        conv = branch[0]
        torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight[:, :, 1:2, 1:2]))
    near = AspOC(4, 4, (2,)).branches[1][0]
    assert not torch.allclose(near(x), F.conv2d(x, near.weight[:, :, 1:2, 1:2]))


def test_every_weight_learns_once_the_projection_has_moved() -> None:
    torch.manual_seed(0)
    for block in (BaseOC(8, scales=(1, 2)), PyramidOC(8, (1, 2)), AspOC(8, 4, (1, 2))):
        awake(block).train()(torch.randn(2, 8, 6, 6)).square().mean().backward()
        assert [n for n, p in block.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
        assert all(p.grad.any() for n, p in block.named_parameters() if n.endswith(("keys.0.weight", "values.weight")))
