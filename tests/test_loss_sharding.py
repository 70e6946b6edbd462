"""Two processes or two steps give what one gives: every loss, every mode, value and gradients."""

import pytest
import torch

from loss_cases import CASES, EVERY, NOT_ADDITIVE, NOT_LINEAR, additive, value, value_and_gradient
from segfold.losses import LOSSES

A, B = slice(0, 3), slice(3, 8)


def uneven_batch(case):
    """Eight images of two classes, to be taken as 3 and 5; each has its own valid area and weight.

    ``mixed``: empty masks on both sides; ``none``: the first part has empty masks only; ``soft``: mixed targets.
    """
    g = torch.Generator().manual_seed(5)
    z = torch.randn(8, 2, 9, 7, generator=g) * 2
    y = (torch.rand(8, 2, 9, 7, generator=g) < 0.3).float()
    for empty in (0, 1, 2) if case == "none" else (1, 4, 5):
        y[empty] = 0
    y[6] = 1
    if case == "soft":
        y = 0.65 * y + 0.35 * y.roll(1, 0)
    valid = torch.rand(8, 1, 9, 7, generator=g) < 0.7
    valid[7] = False
    weight = torch.tensor([1.0, 0.5, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0])
    return z, y, valid, weight


def part(batch, chosen):
    return [None if tensor is None else tensor[chosen] for tensor in batch]


def batches(case, with_valid, with_weight):
    z, y, valid, weight = uneven_batch(case)
    return z, y, valid if with_valid else None, weight if with_weight else None


cases = pytest.mark.parametrize("case", ["mixed", "none", "soft"])
with_valid = pytest.mark.parametrize("with_valid", [False, True])
with_weight = pytest.mark.parametrize("with_weight", [False, True])


@additive
@cases
@with_valid
@with_weight
def test_added_sums_give_the_value_and_the_gradients_of_the_whole(loss, case, with_valid, with_weight):
    assert loss.additive
    batch = batches(case, with_valid, with_weight)
    whole, gradient = value_and_gradient(loss, *batch)
    batch[0].requires_grad_()
    added = loss.sums(*part(batch, A)) + loss.sums(*part(batch, B))
    torch.testing.assert_close(added, loss.sums(*batch), atol=1e-6, rtol=1e-5)
    total = loss.value(added)
    total.backward()
    torch.testing.assert_close(total.detach(), whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(batch[0].grad, gradient, atol=1e-8, rtol=2e-5)
    assert gradient[A].any() or case == "none"
    assert gradient[B].any()


@additive
@cases
def test_each_part_can_give_its_own_gradients(loss, case):
    """With the other's sums as numbers, as between processes: ``value(own + others without gradient)``."""
    batch = batches(case, True, True)
    _, gradient = value_and_gradient(loss, *batch)
    for own, other in ((A, B), (B, A)):
        z, *rest = part(batch, own)
        z = z.clone().requires_grad_()
        loss.value(loss.sums(z, *rest) + loss.sums(*part(batch, other)).detach()).backward()
        torch.testing.assert_close(z.grad, gradient[own], atol=1e-8, rtol=2e-5)


@additive
def test_a_linear_loss_needs_nothing_of_the_other_logits(loss):
    """Sums at any logits stand for the other part's: the same gradients, exactly where the loss says so."""
    z, *rest = part(batches("mixed", True, True), A)
    other = part(batches("mixed", True, True), B)
    blank = [torch.zeros_like(other[0]), *other[1:]]
    gradients = []
    for others in (other, blank):
        own = z.clone().requires_grad_()
        loss.value(loss.sums(own, *rest) + loss.sums(*others).detach()).backward()
        gradients.append(own.grad)
    assert torch.allclose(*gradients, atol=1e-8, rtol=1e-5) == loss.linear


def test_the_exceptions_are_named():
    assert {name for name, loss in EVERY.items() if not loss.additive} == NOT_ADDITIVE
    assert {name for name, loss in EVERY.items() if not loss.linear} == NOT_LINEAR
    assert {name for name, _ in CASES.values()} == set(LOSSES)


@pytest.mark.parametrize("name", sorted(NOT_ADDITIVE))
def test_what_is_not_additive_is_rightly_so(name):
    loss = EVERY[name]
    batch = batches("mixed", True, True)
    whole = value(loss, *batch)
    assert abs(loss.value(loss.sums(*part(batch, A)) + loss.sums(*part(batch, B))) - whole) > 1e-3
