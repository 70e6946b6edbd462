"""What every loss promises for classes that exclude each other: two of them are one logit, void does not count, parts add up."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from loss_cases import CASES, DILUTED, NOT_ADDITIVE, NOT_LINEAR, value_and_gradient
from segfold.losses import LOSSES, StageLoss
from segfold.losses.classes import one_hot

NAMES = ("a", "b", "c", "d")
REFUSED = {"focal-alpha", "weighted-classes"}
"""Those with a setting that says what an object weighs against the rest."""
KEPT = {case: loss for case, loss in CASES.items() if case not in REFUSED}
WEIGHTED = {case for case, (_, settings) in CASES.items() if "class_weights" in settings}
BORDERS = {"weighted-border"}
"""Those that ask which class is the background."""
JOINT = {"ce", "weighted", "focal", "bootstrapped", "lovasz_softmax"}
"""Losses that judge a pixel's classes together."""


def cases(*without: set[str]) -> Any:
    left = [case for case in KEPT if not any(case in names for names in without)]
    return pytest.mark.parametrize("case", left)


def stage(case: str, names: tuple[str, ...] = NAMES, **settings: Any) -> StageLoss:
    name, own = KEPT[case]
    return StageLoss({name: (1.0, {**own, **settings})}, classes=names, exclusive=True, background=0)


def batch(n: int = 4, c: int = 4, h: int = 6, w: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, indices (the first image of one class, the second without the last) and a valid area."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, c, h, w, generator=g) * 2
    index = torch.randint(0, c, (n, 1, h, w), generator=g)
    index[0] = 1
    index[1] = index[1].clamp(max=c - 2)
    valid = torch.rand(n, 1, h, w, generator=g) < 0.8
    return z, index, valid


def found(loss: StageLoss, z: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    z = z.detach().clone().requires_grad_()
    total, _ = loss(z, {}, target, valid)
    total.backward()
    assert z.grad is not None
    return total.detach(), z.grad


def mixed(index: Tensor, c: int = 4) -> Tensor:
    planes = one_hot(index, c)
    return 0.7 * planes + 0.3 * planes.flip(0)


@cases(WEIGHTED)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("with_valid", [False, True])
def test_two_classes_are_one_logit_that_is_their_difference(case: str, soft: bool, with_valid: bool) -> None:
    """Judged one by one, the mean of both; judged together, what the object's logit has alone."""
    z, index, valid = batch(c=2)
    target = mixed(index, 2) if soft else index
    area = valid if with_valid else None
    total, gradient = found(stage(case, ("rest", "object")), z, target, area)
    name, settings = KEPT[case]
    y = target[:, 1:].float() if soft else index.float()
    difference = z[:, 1:] - z[:, :1]
    expected, slope = value_and_gradient(LOSSES[name](**settings), difference, y, area)
    if name not in JOINT:
        other, other_slope = value_and_gradient(LOSSES[name](**settings), -difference, 1 - y, area)
        expected, slope = (expected + other) / 2, (slope - other_slope) / 2
    torch.testing.assert_close(total, expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(gradient, torch.cat([-slope, slope], dim=1), atol=1e-6, rtol=1e-4)


@cases()
def test_indices_are_one_hot_shares(case: str) -> None:
    z, index, valid = batch()
    expected = found(stage(case), z, one_hot(index, 4), valid)
    for kind in (index, index.to(torch.uint8), index.float()):
        torch.testing.assert_close(found(stage(case), z, kind, valid), expected, atol=1e-6, rtol=1e-5)


@cases()
def test_void_has_no_gradient_and_its_label_does_not_matter(case: str) -> None:
    z, index, valid = batch()
    total, gradient = found(stage(case), z, index, valid)
    assert (gradient * ~valid == 0).all() and gradient.any()
    torch.testing.assert_close(found(stage(case), z, index.where(valid, 0), valid)[0], total, rtol=0, atol=0)
    torch.testing.assert_close(found(stage(case), z.where(valid, 30.0), index, valid)[0], total, rtol=0, atol=0)


@cases(DILUTED)
def test_the_valid_area_is_all_that_counts(case: str) -> None:
    z, index, _ = batch(h=9, w=8)
    valid = torch.zeros(4, 1, 9, 8, dtype=torch.bool)
    valid[..., 2:8, 1:6] = True
    total, gradient = found(stage(case), z, index, valid)
    cropped, inner = found(stage(case), z[..., 2:8, 1:6], index[..., 2:8, 1:6])
    torch.testing.assert_close(total, cropped, atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient[..., 2:8, 1:6], inner, atol=1e-7, rtol=1e-5)


@cases(WEIGHTED, BORDERS)
def test_the_order_of_classes_does_not_matter(case: str) -> None:
    z, index, valid = batch()
    total, gradient = found(stage(case), z, index, valid)
    order = torch.tensor([2, 0, 3, 1])
    moved, moved_gradient = found(stage(case), z[:, order], order.argsort()[index], valid)
    torch.testing.assert_close(moved, total, atol=1e-6, rtol=0)
    torch.testing.assert_close(moved_gradient, gradient[:, order], atol=1e-7, rtol=1e-4)


@cases()
def test_only_differences_of_logits_count(case: str) -> None:
    z, index, valid = batch()
    total, gradient = found(stage(case), z, index, valid)
    lift = torch.randn(4, 1, 6, 5, generator=torch.Generator().manual_seed(3)) * 5
    torch.testing.assert_close(found(stage(case), z + lift, index, valid)[0], total, atol=1e-5, rtol=0)
    assert gradient.sum(dim=1).abs().max() < 1e-6


@cases(NOT_ADDITIVE)
@pytest.mark.parametrize("soft", [False, True])
def test_parts_of_a_batch_add_up(case: str, soft: bool) -> None:
    z, index, valid = batch(n=5)
    target = mixed(index) if soft else index
    loss = stage(case)
    assert loss.additive
    total, gradient = found(loss, z, target, valid)
    z.requires_grad_()
    halves = [loss.sums(z[s], {}, target[s], valid[s]) for s in (slice(0, 2), slice(2, 5))]
    added, _ = loss.value({key: halves[0][key] + halves[1][key] for key in halves[0]})
    added.backward()
    torch.testing.assert_close(added.detach(), total, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(z.grad, gradient, atol=1e-7, rtol=1e-4)


@cases(NOT_ADDITIVE)
def test_a_linear_loss_needs_nothing_of_the_other_logits(case: str) -> None:
    z, index, valid = batch()
    loss, gradients = stage(case), []
    for others in (z[2:], torch.zeros_like(z[2:])):
        own = z[:2].clone().requires_grad_()
        other = loss.sums(others, {}, index[2:], valid[2:])
        sums = loss.sums(own, {}, index[:2], valid[:2])
        loss.value({key: sums[key] + other[key].detach() for key in sums})[0].backward()
        gradients.append(own.grad)
    assert torch.allclose(*gradients, atol=1e-8, rtol=1e-5) == loss.linear == (case not in NOT_LINEAR)


@cases()
def test_float32_under_autocast(case: str) -> None:
    z, index, valid = batch(h=32, w=32)
    z = z.bfloat16()
    expected, gradient = found(stage(case), z.float(), index, valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, rough = found(stage(case), z, index, valid)
    assert total.dtype == torch.float32 and total == expected
    torch.testing.assert_close(rough, gradient.bfloat16(), rtol=0, atol=1e-6)


@cases()
@pytest.mark.parametrize("soft", [False, True])
def test_the_gradient_is_the_finite_difference(case: str, soft: bool) -> None:
    """In one direction at a time, of all logits, small enough to change no order of pixels."""
    z, index, valid = batch(n=2, h=3, w=4)
    target = mixed(index) if soft else index
    _, gradient = found(stage(case), z, target, valid)
    g = torch.Generator().manual_seed(7)
    for _ in range(6):
        move = torch.randn(z.shape, generator=g) * 1e-3
        rise = found(stage(case), z + move, target, valid)[0] - found(stage(case), z - move, target, valid)[0]
        torch.testing.assert_close(rise, 2 * (gradient * move).sum(), atol=3e-6, rtol=2e-2)
    assert gradient.any()


@cases()
def test_great_logits_and_a_nan(case: str) -> None:
    """Probabilities of exactly 0 and 1 on the right side or the wrong one stay finite; a NaN is not hidden."""
    z, index, valid = batch()
    right = 1000 * one_hot(index, 4)
    for logits in (right, -right, z * 60):
        for target in (index, mixed(index)):
            total, gradient = found(stage(case), logits, target, valid)
            assert total.isfinite() and gradient.isfinite().all()
    z[2, 0, 0, 0] = torch.nan
    assert found(stage(case), z, index)[0].isnan()


@cases()
def test_gradient_descends(case: str) -> None:
    z, index, valid = batch()
    before, gradient = found(stage(case), z, index, valid)
    step = 1e-3 / gradient.norm() ** 2
    after, _ = found(stage(case), z - step * gradient, index, valid)
    assert after.item() == pytest.approx(before.item() - 1e-3, abs=2e-4)


def test_cross_entropy_and_dice_learn_together() -> None:
    """mmsegmentation's sum: 1 of cross-entropy, 3 of Dice, and the parts under their names."""
    z, index, valid = batch()
    mask: Mapping[str, tuple[float, dict[str, Any]]] = {"ce": (1.0, {}), "dice": (3.0, {})}
    total, parts = StageLoss(mask, classes=NAMES, exclusive=True)(z, {}, index, valid)
    apart = [found(stage(case), z, index, valid)[0] for case in ("ce", "dice")]
    torch.testing.assert_close(total, apart[0] + 3 * apart[1])
    p, y = z.softmax(1) * valid, one_hot(index, 4) * valid
    overlap = (2 * (p * y).sum((2, 3)) + 1) / (p.sum((2, 3)) + y.sum((2, 3)) + 1)
    torch.testing.assert_close(parts["dice"], (1 - overlap).mean())
