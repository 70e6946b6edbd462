"""The Lovász hinge against hand-computed numbers, the published algorithm, and its laws."""

import itertools

import pytest
import torch

from loss_cases import Y, Z, random_batch, value, value_and_gradient
from segfold.losses import Lovasz
from segfold.losses.lovasz import _steps_by_torch, jaccard_steps


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


@pytest.mark.parametrize("symmetric", [False, True])
def test_lovasz_takes_soft_targets_by_the_larger_share(symmetric):
    """Of two images mixed 7 to 3 the pixels have the labels of the first; a tie is background."""
    z, y, valid = random_batch()
    other = y.flip(0)
    loss = Lovasz(symmetric=symmetric)
    expected, expected_gradient = value_and_gradient(loss, z, y, valid)
    result, gradient = value_and_gradient(loss, z, 0.7 * y + 0.3 * other, valid)
    assert result == expected
    assert torch.equal(gradient, expected_gradient)
    assert value(loss, z, torch.full_like(y, 0.5)) == value(loss, z, torch.zeros_like(y))
