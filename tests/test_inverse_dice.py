"""Inverse Dice against hand-computed overlaps, Dice itself, another library, and the mix that it was published in."""

import pytest
import segmentation_models_pytorch.losses as smp
import torch

from loss_cases import Y, Z, random_batch, value, value_and_gradient
from segfold.config import check_experiment
from segfold.losses import BCE, Classes, Dice, InverseDice, StageLoss


def dice_of_background(z, y, smooth):
    """1 - (2 Σ(1-p)(1-y) + s) / (Σ(1-p) + Σ(1-y) + s) of hard masks, image by image, as it is written."""
    p = z.sigmoid()
    both = ((1 - p) * (1 - y)).sum(dim=(2, 3))
    return (1 - (2 * both + smooth) / ((1 - p).sum(dim=(2, 3)) + (1 - y).sum(dim=(2, 3)) + smooth)).mean()


def test_the_common_vector() -> None:
    """p = .880797 .268941 .622459 .047426; 1 - p sums to 2.180377, of which 1.330115 lie on the two background pixels."""
    assert value(InverseDice(smooth=0.0), Z, Y).item() == pytest.approx(1 - 2 * 1.330115 / 4.180377, abs=1e-6)
    assert value(InverseDice(), Z, Y).item() == pytest.approx(1 - 3.660230 / 5.180377, abs=1e-6)


@pytest.mark.parametrize("smooth", [0.0, 1.0, 20.0])
def test_it_is_the_formula_of_the_background(smooth: float) -> None:
    z, y, _ = random_batch(c=2)
    expected = dice_of_background(z, y, smooth)
    torch.testing.assert_close(value(InverseDice(smooth=smooth), z, y), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["image", "batch"])
def test_it_is_dice_of_what_is_not_there(mode: str) -> None:
    z, y, valid = random_batch()
    weight = torch.tensor([1.0, 0.5, 2.0, 1.0])
    mixed = 0.7 * y + 0.3 * y.roll(1, 0)
    for target in (y, mixed):
        found, gradient = value_and_gradient(InverseDice(mode=mode), z, target, valid, weight)
        expected, turned = value_and_gradient(Dice(mode=mode), -z, 1 - target, valid, weight)
        assert found == expected and torch.equal(gradient, -turned)


def test_over_the_batch_it_is_the_librarys_dice_of_turned_masks() -> None:
    z, y, _ = random_batch()
    reference = smp.DiceLoss("binary", smooth=0.0)(-z, 1 - y)
    torch.testing.assert_close(value(InverseDice(mode="batch", smooth=0.0), z, y), reference, atol=1e-6, rtol=0)


def test_padding_is_no_background() -> None:
    z, y, _ = random_batch(h=8, w=8)
    wide = torch.nn.functional.pad(z, (0, 9, 0, 3)), torch.nn.functional.pad(y, (0, 9, 0, 3))
    valid = torch.nn.functional.pad(torch.ones(4, 1, 8, 8, dtype=torch.bool), (0, 9, 0, 3))
    torch.testing.assert_close(value(InverseDice(), *wide, valid), value(InverseDice(), z, y))
    assert value(InverseDice(), *wide) != value(InverseDice(), z, y)


def test_empty_masks_teach_where_dice_alone_does_not() -> None:
    z, y = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 1, 6, 6)
    assert (value_and_gradient(Dice(smooth=0.0), z, y)[1] == 0).all()
    assert (value_and_gradient(InverseDice(smooth=0.0), z, y)[1] > 0).all()


@pytest.mark.parametrize("weights", [(0.25, 0.5, 0.25), (0.4, 0.2, 0.4)])
def test_the_published_mixes_are_ordinary_settings(weights: tuple[float, float, float]) -> None:
    """0.25 Dice, 0.5 inverse Dice and 0.25 BCE by the README of SConsul's GCN; 0.4, 0.2, 0.4 in its code."""
    mask = dict(zip(("dice", "inverse_dice", "bce"), weights))
    stages = {"a": {"epochs": 1, "loss": {"mask": mask}}}
    experiment = check_experiment({"competition": "x", "stages": stages}, "here")
    z, y, valid = random_batch()
    total, parts = experiment.stages["a"].loss.build()(z, {}, y, valid)
    expected = [value(loss, z, y, valid) for loss in (Dice(), InverseDice(), BCE())]
    torch.testing.assert_close(total, sum(w * x for w, x in zip(weights, expected)))
    assert set(parts) == set(mask)


def test_of_exclusive_classes_each_is_judged_against_the_rest() -> None:
    """Two logits and softmax are one logit and sigmoid, the classes each other's background: Dice and its inverse meet."""
    z, y, valid = random_batch()
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    classes = Classes(("background", "object"), True, 0)
    named = {"classes": classes.names, "exclusive": True, "background": 0}
    inverse, _ = StageLoss({"inverse_dice": (1.0, {})}, **named)(two, {}, y.long(), valid)
    plain, _ = StageLoss({"dice": (1.0, {})}, **named)(two, {}, y.long(), valid)
    torch.testing.assert_close(inverse, plain)
    both = (value(Dice(), z, y, valid) + value(InverseDice(), z, y, valid)) / 2
    torch.testing.assert_close(inverse, both)
