"""Losses against hand-computed numbers, plain references and the laws they promise."""

import inspect
import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segfold.losses import BCE, LOSSES, Dice, Lovasz
from segfold.losses.lovasz import _steps_by_torch, jaccard_steps

Z = torch.tensor([2.0, -1.0, 0.5, -3.0]).reshape(1, 1, 2, 2)
Y = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)

ADDITIVE = {
    "bce": BCE(),
    "dice": Dice(),
    "dice-unsmoothed": Dice(smooth=0.0),
    "dice-batch": Dice(mode="batch"),
    "lovasz": Lovasz(),
    "lovasz-elu": Lovasz(activation="elu"),
    "lovasz-symmetric": Lovasz(symmetric=True),
    "lovasz-symmetric-elu": Lovasz(symmetric=True, activation="elu"),
}
EVERY = {**ADDITIVE, "lovasz-batch": Lovasz(per_image=False, symmetric=True)}
additive = pytest.mark.parametrize("loss", ADDITIVE.values(), ids=ADDITIVE)
every = pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)


def value(loss, z, y, valid=None, weight=None):
    return loss.value(loss.sums(z, y, valid, weight))


def value_and_gradient(loss, z, y, valid=None, weight=None):
    z = z.detach().clone().requires_grad_()
    result = value(loss, z, y, valid, weight)
    result.backward()
    return result.detach(), z.grad


def random_batch(n=4, c=1, h=9, w=7, seed=0):
    """Logits, masks (the first empty, the second full), and a valid area that differs from image to image."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, c, h, w, generator=g) * 2
    y = (torch.rand(n, c, h, w, generator=g) < 0.3).float()
    y[0], y[1] = 0, 1
    valid = torch.rand(n, 1, h, w, generator=g) < 0.7
    return z, y, valid


def plain_lovasz(z, y, activation="relu", symmetric=False):
    """The published algorithm on one flat image, in float64: differences of 1 - I/U by subtraction."""
    if symmetric:
        return (plain_lovasz(z, y, activation) + plain_lovasz(-z, 1 - y, activation)) / 2
    z, y = z.double(), y.double()
    if len(z) == 0:
        return 0 * z.sum()
    errors = 1 - z * (2 * y - 1)
    order = sorted(range(len(z)), key=lambda i: -errors[i].item())
    total, before = torch.zeros((), dtype=torch.float64), 0.0
    wrong = torch.zeros_like(y)
    for i in order:
        wrong[i] = 1
        guess = (y + wrong) % 2  # the mask with these pixels turned over
        distance = 1 - float((guess * y).sum()) / float(torch.maximum(guess, y).sum().clamp(min=1))
        if y.sum() == 0:
            distance = 1.0
        act = torch.relu(errors[i]) if activation == "relu" else torch.nn.functional.elu(errors[i]) + 1
        total, before = total + act * (distance - before), distance
    return total


# ---- hand-computed numbers ----


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (BCE(), 0.615713),
        (Dice(smooth=0.0), 0.397983),
        (Dice(smooth=1.0), 0.315408),
        (Dice(smooth=1.0, mode="batch"), 0.315408),
        (Lovasz(), 1.25),
        (Lovasz(activation="elu"), 2.039293),
        (Lovasz(symmetric=True), 1.208333),
        (Lovasz(symmetric=True, activation="elu"), 1.968558),
        (Lovasz(per_image=False), 1.25),
    ],
)
def test_the_common_vector(loss, expected):
    assert value(loss, Z, Y).item() == pytest.approx(expected, abs=1e-6)


def test_lovasz_of_turned_logits_and_labels():
    assert value(Lovasz(), -Z, 1 - Y).item() == pytest.approx(1.166667, abs=1e-6)


def test_lovasz_steps_of_the_common_vector():
    errors = (1 - Z * (2 * Y - 1)).reshape(1, 4)
    steps = jaccard_steps(errors, Y.reshape(1, 4) > 0, None, symmetric=False, hinge=False)
    in_order = steps[0, errors[0].argsort(descending=True)]
    assert in_order.tolist() == pytest.approx([0.5, 1 / 6, 1 / 3, 0], abs=1e-7)


@pytest.mark.parametrize(
    ("z", "full", "activation", "expected"),
    [
        ((-1, 0.3, -2, 0.1), False, "relu", 1.3),
        ((-1, 0.3, -2, 0.1), True, "relu", 1.65),
        ((-5, -5, -5, -5), False, "relu", 0.0),
        ((-5, -5, -5, -5), False, "elu", 0.018316),
    ],
)
def test_lovasz_of_empty_and_full_masks(z, full, activation, expected):
    z = torch.tensor(z, dtype=torch.float32).reshape(1, 1, 2, 2)
    result = value(Lovasz(activation=activation), z, torch.full_like(z, float(full)))
    assert result.item() == pytest.approx(expected, abs=1e-6)


def test_bce_of_soft_targets():
    """At p = y the cross-entropy is the entropy of y, its least value, and the gradient is 0."""
    p = torch.tensor([0.1, 0.25, 0.5, 0.9]).reshape(1, 1, 2, 2)
    result, gradient = value_and_gradient(BCE(), torch.logit(p), p)
    entropy = sum(-q * math.log(q) - (1 - q) * math.log(1 - q) for q in (0.1, 0.25, 0.5, 0.9)) / 4
    assert result.item() == pytest.approx(entropy, abs=1e-6)
    assert gradient.abs().max() < 1e-7


# ---- Dice ----


@pytest.mark.parametrize("mode", ["image", "batch"])
def test_dice_of_a_right_answer_is_zero(mode):
    _, y, _ = random_batch()
    right = (2 * y - 1) * 200
    assert value(Dice(mode=mode, smooth=0.0), right, y).item() == pytest.approx(0, abs=1e-6)
    nothing = torch.zeros_like(y)
    for smooth in (0.0, 1.0):  # 0/0 without smoothing: nothing predicted, nothing there
        result, gradient = value_and_gradient(Dice(mode=mode, smooth=smooth), nothing - 200, nothing)
        assert result == 0
        assert gradient.isfinite().all()


def test_dice_modes_differ_on_masks_of_unequal_size():
    z = torch.full((2, 1, 2, 2), -1.0)
    y = torch.zeros(2, 1, 2, 2)
    y[0], y[1, 0, 0, 0] = 1, 1
    p = 1 / (1 + math.e)
    each = [1 - (8 * p + 1) / (4 * p + 5), 1 - (2 * p + 1) / (4 * p + 2)]
    assert value(Dice(mode="image"), z, y).item() == pytest.approx(sum(each) / 2, abs=1e-6)
    assert value(Dice(mode="batch"), z, y).item() == pytest.approx(1 - (10 * p + 1) / (8 * p + 6), abs=1e-6)


# ---- Lovász ----


@pytest.mark.parametrize("activation", ["relu", "elu"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("with_valid", [False, True])
def test_lovasz_equals_the_plain_reference(activation, symmetric, with_valid):
    z, y, valid = random_batch(n=5, c=2)
    valid[3] = False  # no pixel left
    settings = {"activation": activation, "symmetric": symmetric}
    area = valid if with_valid else None
    result, gradient = value_and_gradient(Lovasz(**settings), z, y, area)
    z = z.requires_grad_()
    inside = valid.expand_as(z) if with_valid else torch.ones_like(z, dtype=torch.bool)
    images = itertools.product(range(5), range(2))
    expected = sum(plain_lovasz(z[i][inside[i]], y[i][inside[i]], **settings) for i in images)
    (expected / 10).backward()
    assert result.item() == pytest.approx(expected.item() / 10, abs=1e-6)
    assert (gradient - z.grad).abs().max() <= 1e-6


def test_lovasz_of_the_batch_equals_the_reference_on_all_pixels_together():
    z, y, valid = random_batch()
    weight = torch.tensor([1.0, 0.0, 1.0, 1.0])
    counted = valid[weight > 0]
    expected = plain_lovasz(z[weight > 0][counted], y[weight > 0][counted])
    assert value(Lovasz(per_image=False), z, y, valid, weight).item() == pytest.approx(expected.item(), abs=1e-6)
    assert not Lovasz(per_image=False).additive
    assert abs(value(Lovasz(), z, y, valid, weight).item() - expected.item()) > 1e-3


def test_lovasz_of_hard_errors_is_the_jaccard_distance():
    bits = torch.tensor(list(itertools.product([0, 1], repeat=5)))
    truth = bits.repeat_interleave(32, dim=0)
    guess = bits.repeat(32, 1)
    z = torch.where(truth == guess, 2.0 * truth - 1, 0.0)  # error 0 where right, 1 where wrong
    inter, union = (truth & guess).sum(1), (truth | guess).sum(1)
    distance = torch.where(union > 0, 1 - inter / union.clamp(min=1), 0.0)
    for i in range(1024):
        case = value(Lovasz(), z[i].reshape(1, 1, 1, 5), truth[i].reshape(1, 1, 1, 5).float())
        assert case.item() == pytest.approx(distance[i].item(), abs=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("hinge", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_both_sorts_give_the_same_steps(symmetric, hinge, scale):
    """The CPU's radix sort and the batched torch.sort of a GPU; errors of every size and sign."""
    g = torch.Generator().manual_seed(1)
    errors = torch.randn(6, 5000, generator=g) * torch.randn(6, 5000, generator=g).exp() ** 3 * scale
    positive = torch.rand(6, 5000, generator=g) < 0.2
    positive[0], positive[1] = False, True
    valid = torch.rand(6, 5000, generator=g) < 0.6
    valid[2] = False
    for area in (None, valid):
        ours = jaccard_steps(errors, positive, area, symmetric=symmetric, hinge=hinge)
        expected = _steps_by_torch(errors, positive, area, symmetric)
        if hinge:  # steps of errors that the hinge drops are free
            ours, expected = ours * (errors > 0), expected * (errors > 0)
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)
        assert expected.any()


def test_lovasz_with_ties_equals_the_reference():
    z, y, _ = random_batch(n=3)
    z = z.round()
    expected = sum(plain_lovasz(z[i].flatten(), y[i].flatten()) for i in range(3)) / 3
    assert value(Lovasz(), z, y).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_lovasz_does_not_see_the_order_of_pixels(symmetric, activation):
    loss = Lovasz(symmetric=symmetric, activation=activation)
    z, y, _ = random_batch()
    result, gradient = value_and_gradient(loss, z, y)
    order = torch.randperm(63, generator=torch.Generator().manual_seed(3))
    moved, moved_gradient = value_and_gradient(
        loss,
        z.flatten(2)[..., order].reshape(z.shape),
        y.flatten(2)[..., order].reshape(z.shape),
    )
    flipped, flipped_gradient = value_and_gradient(loss, z.flip(3), y.flip(3))
    torch.testing.assert_close(moved, result, atol=1e-6, rtol=0)
    torch.testing.assert_close(flipped, result, atol=1e-6, rtol=0)
    torch.testing.assert_close(moved_gradient.flatten(2), gradient.flatten(2)[..., order])
    torch.testing.assert_close(flipped_gradient, gradient.flip(3))


@pytest.mark.parametrize("symmetric", [False, True])
def test_lovasz_of_identical_images_is_that_of_one(symmetric):
    z, y, _ = random_batch()
    for per_image in (True, False):
        loss = Lovasz(symmetric=symmetric, per_image=per_image)
        one = value(loss, z[2:3], y[2:3])
        # As one large image each pixel appears thrice: the same jumps of the same distance, three at a time.
        torch.testing.assert_close(value(loss, z[[2, 2, 2]], y[[2, 2, 2]]), one, atol=1e-6, rtol=0)


def test_lovasz_on_empty_masks_moves_one_pixel_and_symmetric_moves_all():
    g = torch.Generator().manual_seed(0)
    z, y = torch.rand(1, 1, 10, 10, generator=g), torch.zeros(1, 1, 10, 10)
    for activation in ("relu", "elu"):
        _, plain = value_and_gradient(Lovasz(activation=activation), z, y)
        _, symmetric = value_and_gradient(Lovasz(activation=activation, symmetric=True), z, y)
        assert (plain != 0).sum() == 1
        assert (symmetric != 0).sum() == 100


def test_elu_moves_pixels_that_are_right_and_relu_does_not():
    z, y = torch.full((1, 1, 2, 2), 5.0), torch.ones(1, 1, 2, 2)
    assert (value_and_gradient(Lovasz(), z, y)[1] == 0).all()
    assert (value_and_gradient(Lovasz(activation="elu"), z, y)[1] < 0).all()


# ---- laws of every loss ----


@every
def test_the_valid_area_is_all_that_counts(loss):
    z, y, _ = random_batch(h=12, w=11, c=2)
    valid = torch.zeros(4, 1, 12, 11, dtype=torch.bool)
    valid[:, :, 2:9, 3:10] = True
    result, gradient = value_and_gradient(loss, z, y, valid)
    cropped, cropped_gradient = value_and_gradient(loss, z[..., 2:9, 3:10], y[..., 2:9, 3:10])
    torch.testing.assert_close(result, cropped, atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient[..., 2:9, 3:10], cropped_gradient, atol=1e-7, rtol=1e-5)
    assert gradient.any()
    assert (gradient * ~valid == 0).all()
    padded = torch.where(valid, y, 1.0)  # a border that the padding filled with the object
    assert value(loss, z, padded, valid) == value(loss, z, y, valid)
    assert value(loss, z, y, valid.expand_as(z)) == value(loss, z, y, valid)


@every
def test_images_of_weight_zero_are_left_out(loss):
    z, y, valid = random_batch()
    weight = torch.tensor([1.0, 0.0, 0.0, 1.0])
    result, gradient = value_and_gradient(loss, z, y, valid, weight)
    rest, rest_gradient = value_and_gradient(loss, z[[0, 3]], y[[0, 3]], valid[[0, 3]])
    torch.testing.assert_close(result, rest, atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient[[0, 3]], rest_gradient)
    assert (gradient[1:3] == 0).all()
    nothing, no_gradient = value_and_gradient(loss, z, y, valid, torch.zeros(4))
    assert nothing == 0
    assert (no_gradient == 0).all()


@additive
def test_a_weight_of_two_is_the_image_twice(loss):
    z, y, valid = random_batch()
    twice = [0, 1, 2, 2, 3]
    weighted = value(loss, z, y, valid, torch.tensor([1.0, 1.0, 2.0, 1.0]))
    torch.testing.assert_close(weighted, value(loss, z[twice], y[twice], valid[twice]), atol=1e-6, rtol=0)


@additive
@pytest.mark.parametrize("split", [1, 2])
def test_sums_of_parts_of_a_batch_add_up(loss, split):
    assert loss.additive
    z, y, valid = random_batch(c=2)
    weight = torch.tensor([1.0, 0.5, 2.0, 1.0])
    whole, gradient = value_and_gradient(loss, z, y, valid, weight)
    z = z.requires_grad_()
    a, b = slice(None, split), slice(split, None)
    parts = loss.sums(z[a], y[a], valid[a], weight[a]) + loss.sums(z[b], y[b], valid[b], weight[b])
    torch.testing.assert_close(parts, loss.sums(z, y, valid, weight))
    result = loss.value(parts)
    result.backward()
    torch.testing.assert_close(result.detach(), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(z.grad, gradient, atol=1e-7, rtol=1e-5)


@every
def test_classes_are_averaged(loss):
    z, y, _ = random_batch(c=2)
    each = [value(loss, z[:, [i]], y[:, [i]]) for i in range(2)]
    torch.testing.assert_close(value(loss, z, y), sum(each) / 2, atol=1e-6, rtol=0)


@every
def test_float32_under_autocast(loss):
    """16-bit logits are brought to float32 first: the same numbers as without autocast, not merely close."""
    z, y, valid = random_batch(h=64, w=64)
    z = z.bfloat16()
    expected, gradient = value_and_gradient(loss, z.float(), y, valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = loss.sums(z, y, valid)
        result, cast_gradient = value_and_gradient(loss, z, y, valid)
    assert sums.dtype == result.dtype == torch.float32
    assert result == expected
    torch.testing.assert_close(cast_gradient, gradient.bfloat16(), rtol=0, atol=0)


class CountCalls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@every
def test_the_number_of_operations_does_not_grow_with_images(loss):
    def calls(n):
        z, y, valid = random_batch(n=n)
        with CountCalls() as counter:
            value_and_gradient(loss, z, y, valid)
        return counter.calls

    assert calls(3) == calls(30)


@every
def test_a_nan_is_not_hidden(loss):
    z, y, _ = random_batch()
    z[2, 0, 0, 0] = torch.nan
    assert value(loss, z, y).isnan()


@every
def test_gradient_descends(loss):
    """A step against the gradient lowers the loss: no sign is turned, no gradient cut."""
    z, y, valid = random_batch()
    before, gradient = value_and_gradient(loss, z, y, valid)
    step = 1e-3 / gradient.norm() ** 2
    after = value(loss, z - step * gradient, y, valid)
    assert after.item() == pytest.approx(before.item() - 1e-3, abs=2e-4)


@every
def test_shapes_that_do_not_fit_are_refused(loss):
    z, y, valid = random_batch()
    with pytest.raises(ValueError, match="target"):
        loss.sums(z, y[:, 0])
    with pytest.raises(ValueError, match="valid"):
        loss.sums(z, y, valid[:1])
    with pytest.raises(ValueError, match="weight"):
        loss.sums(z, y, valid, torch.ones(3))


def test_settings_are_keywords_with_defaults():
    for loss in LOSSES.values():
        for parameter in inspect.signature(loss).parameters.values():
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert parameter.default is not parameter.empty
