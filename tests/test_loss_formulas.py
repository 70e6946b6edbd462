"""Pixel and region losses against hand-computed numbers and another library's losses.

Of segmentation_models_pytorch, for binary and multi-label masks, in double precision: focal, Jaccard, Dice and Tversky
over the whole batch, Lovász, and cross-entropy with smoothed labels.
"""

import math

import pytest
import segmentation_models_pytorch.losses as smp
import torch

from loss_cases import Y, Z, random_batch, value, value_and_gradient
from segfold.losses import BCE, Boundary, Dice, Focal, Jaccard, Lovasz, Tversky


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (BCE(), 0.615713),
        (BCE(smoothing=0.1), 0.659463),  # and 0.05 · (2 - 1 - 0.5 + 3) / 4
        (Focal(), 0.270298),
        (Focal(alpha=0.25), 0.114765),
        (Focal(gamma=0.0), 0.615713),
        (Dice(smooth=0.0), 0.397983),
        (Dice(smooth=1.0), 0.315408),
        (Dice(smooth=1.0, mode="batch"), 0.315408),
        (Jaccard(smooth=0.0), 0.569368),  # 1.520147 wrong, 1.149738 right
        (Jaccard(smooth=1.0), 0.414222),
        (Tversky(alpha=0.3, beta=0.7), 0.270258),  # (0.3 · 0.669885 + 0.7 · 0.850262) / 2.945887
        (Tversky(alpha=0.3, beta=0.7, gamma=0.75), 0.374829),
        (Lovasz(), 1.25),
        (Lovasz(activation="elu"), 2.039293),
        (Lovasz(symmetric=True), 1.208333),
        (Lovasz(symmetric=True, activation="elu"), 1.968558),
        (Lovasz(per_image=False), 1.25),
        (Boundary(), 0.167471),  # distances 0 0 1 1: (0.622459 + 0.047426) / 4
    ],
)
def test_the_common_vector(loss, expected):
    assert value(loss, Z, Y).item() == pytest.approx(expected, abs=1e-6)


# ---- against segmentation_models_pytorch ----


def smp_loss(name, **settings):
    """The library's loss, of N×C×H×W logits; its soft overlaps are of the whole batch."""

    def loss(z, y):
        mode = "binary" if z.shape[1] == 1 else "multilabel"
        return getattr(smp, name)(mode, **settings)(z, y)

    return loss


@pytest.mark.parametrize("c", [1, 2])
@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (Focal(), smp_loss("FocalLoss")),
        (Focal(gamma=0.5, alpha=0.25), smp_loss("FocalLoss", gamma=0.5, alpha=0.25)),
        (BCE(smoothing=0.1), smp.SoftBCEWithLogitsLoss(smooth_factor=0.05)),
        (Focal(gamma=0.0, smoothing=0.1), smp.SoftBCEWithLogitsLoss(smooth_factor=0.05)),
        (Dice(mode="batch", smooth=0.0), smp_loss("DiceLoss", smooth=0.0)),
        # Since 0.6 the library's Dice is its Tversky of a half and a half, whose smoothing counts twice.
        (Dice(mode="batch", smooth=1.0), smp_loss("DiceLoss", smooth=0.5)),
        (Jaccard(mode="batch", smooth=0.0), smp_loss("JaccardLoss", smooth=0.0)),
        (Jaccard(mode="batch", smooth=1.0), smp_loss("JaccardLoss", smooth=1.0)),
        (Tversky(mode="batch", smooth=0.0), smp_loss("TverskyLoss", smooth=0.0)),
        (
            Tversky(mode="batch", alpha=0.3, beta=0.7, smooth=2.0),
            smp_loss("TverskyLoss", alpha=0.3, beta=0.7, smooth=2.0),
        ),
    ],
)
def test_values_and_gradients_of_the_library(loss, formula, c):
    z, y, _ = random_batch(c=c)
    result, gradient = value_and_gradient(loss, z, y)
    z = z.double().requires_grad_()
    expected = formula(z, y.double())
    expected.backward()
    assert result.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradient, z.grad.float(), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_of_the_library(per_image):
    z, y, _ = random_batch()
    result, gradient = value_and_gradient(Lovasz(per_image=per_image), z, y)
    z = z.clone().requires_grad_()
    expected = smp.LovaszLoss("binary", per_image=per_image)(z, y)
    expected.backward()
    assert result.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradient, z.grad.float(), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.75, 1.5])
def test_focal_tversky_of_the_library(gamma):
    """The library raises the mean over classes to the power, we each class: the same for one class."""
    z, y, _ = random_batch()
    loss = Tversky(mode="batch", alpha=0.3, beta=0.7, gamma=gamma)
    result, gradient = value_and_gradient(loss, z, y)
    z = z.double().requires_grad_()
    expected = smp_loss("TverskyLoss", alpha=0.3, beta=0.7, gamma=gamma, smooth=1.0)(z, y.double())
    expected.backward()
    assert result.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradient, z.grad.float(), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("region", [Dice, Jaccard, Tversky])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_image_mode_is_the_mean_of_batches_of_one(region, smooth):
    z, y, _ = random_batch()
    each = [value(region(mode="batch", smooth=smooth), z[[i]], y[[i]]) for i in range(4)]
    torch.testing.assert_close(value(region(smooth=smooth), z, y), sum(each) / 4, atol=1e-6, rtol=0)
    assert abs(value(region(mode="batch", smooth=smooth), z, y) - sum(each) / 4) > 1e-3


# ---- cross-entropy and focal ----


def test_bce_of_soft_targets():
    """At p = y the cross-entropy is the entropy of y, its least value, and the gradient is 0."""
    p = torch.tensor([0.1, 0.25, 0.5, 0.9]).reshape(1, 1, 2, 2)
    result, gradient = value_and_gradient(BCE(), torch.logit(p), p)
    entropy = sum(-q * math.log(q) - (1 - q) * math.log(1 - q) for q in (0.1, 0.25, 0.5, 0.9)) / 4
    assert result.item() == pytest.approx(entropy, abs=1e-6)
    assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("loss", [BCE(), Focal(), Focal(gamma=0.7, alpha=0.25)], ids=["bce", "focal", "focal-alpha"])
def test_the_loss_of_mixed_targets_is_the_mix_of_the_losses(loss):
    z, y, valid = random_batch()
    other = y.roll(1, 0)
    mixed = value(loss, z, 0.7 * y + 0.3 * other, valid)
    expected = 0.7 * value(loss, z, y, valid) + 0.3 * value(loss, z, other, valid)
    torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", [BCE, Focal])
def test_smoothed_labels_are_soft_targets(loss):
    z, y, valid = random_batch()
    soft = y * 0.8 + 0.1
    smoothed = value(loss(smoothing=0.2), z, y, valid)
    assert smoothed.item() == pytest.approx(value(loss(), z, soft, valid).item(), abs=1e-6)


def test_focal_teaches_least_where_the_answer_is_sure():
    """One pixel with p_t of 0.9 and one of 0.1: γ = 2 takes 99 % of the first's entropy and 19 % of the other's."""
    for p, share in ((0.9, 0.01), (0.1, 0.81)):
        z = torch.full((1, 1, 1, 1), math.log(p / (1 - p)))
        for turn in (z, torch.ones_like(z)), (-z, torch.zeros_like(z)):
            assert value(Focal(), *turn).item() == pytest.approx(-share * math.log(p), abs=1e-6)


# ---- regions ----


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


@pytest.mark.parametrize("mode", ["image", "batch"])
@pytest.mark.parametrize("region", [Dice, Jaccard, Tversky, lambda **s: Tversky(gamma=0.75, **s)])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_soft_targets_are_met_by_predicting_them(region, mode, smooth):
    """The loss is 0 at p = y, also in between 0 and 1, and a step to either side costs."""
    g = torch.Generator().manual_seed(0)
    y = torch.rand(3, 2, 5, 5, generator=g) * 0.8 + 0.1
    loss = region(mode=mode, smooth=smooth)
    assert value(loss, torch.logit(y), y).item() == pytest.approx(0, abs=1e-4)
    for step in (-0.1, 0.1):
        assert value(loss, torch.logit(y) + step, y) > 1e-3
    hard = (y > 0.5).float() * 80 - 40
    assert value(loss, hard, y) > 0.1


def test_tversky_prices_of_both_errors():
    """Half the object found, or as much again claimed: beta 0.9 minds the first, alpha 0.9 the second."""
    y = torch.zeros(1, 1, 1, 8)
    y[..., :4] = 1
    found_half, claimed_twice = torch.full((2, 1, 1, 1, 8), -100.0)
    found_half[..., :2] = claimed_twice[..., :] = 100
    recall, precision = Tversky(alpha=0.1, beta=0.9, smooth=0.0), Tversky(alpha=0.9, beta=0.1, smooth=0.0)
    assert value(recall, found_half, y).item() == pytest.approx(1.8 / 3.8, abs=1e-6)
    assert value(precision, found_half, y).item() == pytest.approx(0.2 / 2.2, abs=1e-6)
    assert value(recall, claimed_twice, y).item() == pytest.approx(0.4 / 4.4, abs=1e-6)
    assert value(precision, claimed_twice, y).item() == pytest.approx(3.6 / 7.6, abs=1e-6)


def test_the_three_regions_are_one_family():
    z, y, valid = random_batch()
    soft = 0.8 * y + 0.1
    for mode in ("image", "batch"):
        for target in (y, soft):
            pairs = [
                (Dice(mode=mode, smooth=3.0), Tversky(mode=mode, alpha=0.5, beta=0.5, smooth=1.5)),
                (Jaccard(mode=mode, smooth=3.0), Tversky(mode=mode, alpha=1.0, beta=1.0, smooth=3.0)),
            ]
            for ours, tversky in pairs:
                assert value(ours, z, target, valid) == value(tversky, z, target, valid)
            dice = value(Dice(mode="batch", smooth=0.0), z, target, valid).item()
            jaccard = value(Jaccard(mode="batch", smooth=0.0), z, target, valid).item()
            assert jaccard == pytest.approx(1 - (1 - dice) / (1 + dice), abs=1e-6)  # J = D / (2 - D), D = 1 - loss
