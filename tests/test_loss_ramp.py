"""Weights of mask losses that move over a stage."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, elu

from segfold.errors import SegfoldError
from segfold.losses import HeadTerm, StageLoss

SECOND_PLACE = {"focal": (2.0, {"gamma": 2.0}), "lovasz": (0.0, {"activation": "elu"})}
RAMP = {"focal": 0.0, "lovasz": 2.0}


def batch():
    g = torch.Generator().manual_seed(2)
    y = (torch.rand(4, 1, 8, 8, generator=g) < 0.3).float()
    y[1] = 0
    heads = {
        "levels": torch.randn(4, 3, 1, 8, 8, generator=g).requires_grad_(),
        "nonempty": torch.randn(4, 1, 8, 8, generator=g).requires_grad_(),
        "image": torch.randn(4, 1, generator=g).requires_grad_(),
    }
    return torch.randn(4, 1, 8, 8, generator=g).requires_grad_(), heads, y


def plain_focal(z, y):
    entropy = binary_cross_entropy_with_logits(z, y, reduction="none")
    return ((1 - torch.exp(-entropy)) ** 2 * entropy).mean()


def plain_lovasz(z, y):
    total = 0.0
    for image, mask in zip(z.flatten(1), y.flatten(1), strict=True):
        errors, order = (1 - image * (2 * mask - 1)).sort(descending=True)
        mask = mask[order]
        jaccard = 1 - (mask.sum() - mask.cumsum(0)) / (mask.sum() + (1 - mask).cumsum(0))
        total = total + ((elu(errors) + 1) * torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])).sum()
    return total / len(z)


@pytest.mark.parametrize("epoch", [0, 10, 25, 49, 50])
def test_focal_to_lovasz_as_the_second_place_wrote_it(epoch):
    """``a focal + (2 - a) lovasz``, a = 2 max(0, (50 - epoch) / 50)."""
    z, _, y = batch()
    a = 2 * max(0, (50 - epoch) / 50)
    expected = a * plain_focal(z, y) + (2 - a) * plain_lovasz(z, y)
    total, _ = StageLoss(SECOND_PLACE, ramp=RAMP).at(epoch / 50)(z, {}, y)
    torch.testing.assert_close(total, expected, atol=1e-6, rtol=0)
    gradient, expected_gradient = (torch.autograd.grad(loss, z)[0] for loss in (total, expected))
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("done", [0.0, 0.3, 1.0])
def test_every_head_has_the_weights_of_the_moment(done):
    heads = {"levels": HeadTerm(0.1), "nonempty": HeadTerm(0.5, "zeroed"), "image": HeadTerm(0.05)}
    moving = StageLoss({"bce": (1.0, {}), "dice": (0.2, {}), "lovasz": (0.0, {})}, heads, ramp={"bce": 0, "lovasz": 3})
    still = StageLoss({"bce": (1 - done, {}), "dice": (0.2, {}), "lovasz": (3 * done, {})}, heads)
    out = batch()
    total, parts = moving.at(done)(*out)
    expected, expected_parts = still(*out)
    torch.testing.assert_close(total, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(parts, expected_parts, atol=1e-6, rtol=0)
    assert moving.at(done).factors == pytest.approx(still.factors)


def test_a_loss_of_weight_zero_is_not_computed():
    loss = StageLoss(SECOND_PLACE, {"levels": HeadTerm(0.1)}, ramp=RAMP)
    out = batch()
    for done, present in ((0.0, {"focal"}), (0.5, {"focal", "lovasz"}), (1.0, {"lovasz"})):
        state = loss.at(done)
        sums = state.sums(*out)
        assert {name.split("/")[1] for name in sums if "/" in name} == present
        _, parts = state.value(sums)
        assert parts.keys() == state.factors.keys() == present | {"levels"}


def test_weights_are_exact_at_both_ends_and_where_they_rest():
    loss = StageLoss({"bce": (0.7, {}), "dice": (1 / 3, {}), "lovasz": (0.1, {})}, ramp={"bce": 0.3, "lovasz": 0.1})
    assert loss.factors == loss.at(0).factors == {"bce": 0.7, "dice": 1 / 3, "lovasz": 0.1}
    assert loss.at(1).factors == {"bce": 0.3, "dice": 1 / 3, "lovasz": 0.1}
    assert loss.at(0.77).factors == {"bce": pytest.approx(0.392), "dice": 1 / 3, "lovasz": 0.1}


def test_a_moment_changes_no_other():
    loss = StageLoss(SECOND_PLACE, ramp=RAMP)
    out = batch()
    before = loss(*out)[0]
    half = loss.at(0.5)
    end = half.at(1.0)
    assert torch.equal(loss(*out)[0], before)
    assert half.factors == {"focal": 1.0, "lovasz": 1.0}
    assert end.factors == {"lovasz": 2.0}
    assert half.at(0.0).factors == loss.factors == {"focal": 2.0}


def test_without_a_ramp_every_moment_is_the_same():
    loss = StageLoss({"bce": (1.0, {}), "dice": (0.0, {})}, {"image": HeadTerm(0.05)})
    assert loss.at(0.9).factors == loss.factors == {"bce": 1.0, "image": 0.05}


def test_properties_hold_for_the_whole_stage():
    """What comes later counts from the first step, so that a stage cannot fail half-way."""
    later = {"bce": (1.0, {}), "lovasz": (0.0, {"per_image": False})}
    assert not StageLoss(later, ramp={"lovasz": 1}).additive
    assert StageLoss(later).additive
    assert not StageLoss({"bce": (1.0, {}), "dice": (0.0, {"mode": "batch"})}, ramp={"dice": 1}).linear
    assert StageLoss(SECOND_PLACE, ramp=RAMP).linear


@pytest.mark.parametrize("done", [0.0, 0.4, 1.0])
def test_parts_of_a_batch_add_up_at_every_moment(done):
    mask = {"focal": (1.0, {}), "jaccard": (0.0, {"mode": "batch"}), "boundary": (0.0, {})}
    loss = StageLoss(
        mask, {"levels": HeadTerm(0.1), "nonempty": HeadTerm(0.5)}, ramp={"focal": 0, "jaccard": 1, "boundary": 0.1}
    )
    state = loss.at(done)
    assert state.additive
    z, heads, y = batch()
    del heads["image"]
    whole, _ = state(z, heads, y)
    halves = [state.sums(z[s], {k: v[s] for k, v in heads.items()}, y[s]) for s in (slice(0, 1), slice(1, 4))]
    total, _ = state.value({key: halves[0][key] + halves[1][key] for key in halves[0]})
    torch.testing.assert_close(total, whole, atol=1e-6, rtol=0)
    for ours, expected in zip(
        torch.autograd.grad(total, [z, *heads.values()]), torch.autograd.grad(whole, [z, *heads.values()]), strict=True
    ):
        torch.testing.assert_close(ours, expected, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(
    ("mask", "ramp", "message"),
    [
        ({"bce": (1.0, {})}, {"bce": 0.0}, "loss.mask holds no loss with a weight above 0 at the end of the stage"),
        ({"bce": (0.0, {})}, {"bce": 1.0}, "loss.mask holds no loss with a weight above 0: name one"),
        ({"bce": (1.0, {})}, {"lovasz": 1.0}, "loss.mask.lovasz.end is 1.0 but loss.mask does not name lovasz"),
        ({"bce": (1.0, {}), "lovaz": (0.0, {})}, {"lovaz": 1.0}, "loss.mask names lovaz, which is not a loss: did you"),
    ],
)
def test_ramps_that_cannot_be_are_refused(mask, ramp, message):
    with pytest.raises(SegfoldError) as error:
        StageLoss(mask, ramp=ramp)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("done", [-0.1, 1.1, float("nan")])
def test_a_moment_outside_the_stage_is_a_bug(done):
    with pytest.raises(ValueError, match="within 0 and 1"):
        StageLoss(SECOND_PLACE, ramp=RAMP).at(done)
