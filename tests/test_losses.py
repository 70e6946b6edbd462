"""What every loss promises: which pixels, images and classes count, precision, gradients, settings."""

import inspect
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from loss_cases import CASES, additive, every, random_batch, undiluted, value, value_and_gradient
from segfold.errors import SegfoldError
from segfold.losses import LOSSES, Classes, build_loss


@undiluted
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


def spaced_batch():
    """Two images whose pixels' errors differ from one another and from 0 by more than a finite difference."""
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    z = torch.linspace(-2.87, 3.01, 24)[order].reshape(2, 1, 3, 4)
    y = torch.zeros_like(z)
    y[0, 0, 1:, :2], y[1, 0, 0], y[1, 0, 1, 2] = 1, 1, 1
    return z, y


@every
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("with_valid", [False, True])
def test_gradient_is_the_finite_difference(loss, soft, with_valid):
    z, y = spaced_batch()
    if soft:
        y = 0.9 * y + 0.1 * y.flip(0)
    valid = torch.ones(2, 1, 3, 4, dtype=torch.bool)
    valid[0, 0, 0, 0] = valid[1, 0, 2] = False
    area = valid if with_valid else None
    _, gradient = value_and_gradient(loss, z, y, area)
    h = 2**-6
    moves = torch.eye(24).reshape(24, 2, 1, 3, 4) * h
    rises = torch.stack([value(loss, z + move, y, area) - value(loss, z - move, y, area) for move in moves])
    torch.testing.assert_close(gradient.flatten(), rises / (2 * h), atol=1e-4, rtol=1e-3)
    assert gradient.any()


@every
def test_soft_targets_and_great_logits_stay_finite(loss):
    """Mixed masks, and logits at which the sigmoid is 0 or 1, on the right side or the wrong one."""
    z, y, valid = random_batch()
    mixed = 0.6 * y + 0.4 * y.roll(1, 0)
    right = (2 * y - 1) * 1000
    for logits in (z, right, -right, z * 60):
        for target in (y, mixed):
            result, gradient = value_and_gradient(loss, logits, target, valid)
            assert result.isfinite()
            assert gradient.isfinite().all()


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


@pytest.mark.parametrize("name", LOSSES)
def test_the_cases_hold_every_loss_in_every_mode(name):
    """A loss or a mode that is added must be added to the cases, whose laws it then has to keep."""
    cases = [settings for loss, settings in CASES.values() if loss == name]
    assert cases
    builder = LOSSES[name]
    hints = get_type_hints(builder.__init__)
    for parameter in inspect.signature(builder).parameters.values():
        hint = hints[parameter.name]
        found = [settings.get(parameter.name, parameter.default) for settings in cases]
        used = {tuple(value) if isinstance(value, dict) else value for value in found}
        if get_origin(hint) is Literal:
            assert used == set(get_args(hint))
        elif hint is bool:
            assert used == {False, True}
        else:
            assert len(used) > 1, f"no case sets {name}.{parameter.name}"


@pytest.mark.parametrize(
    ("name", "setting"), [(name, setting) for name in LOSSES for setting in inspect.signature(LOSSES[name]).parameters]
)
def test_every_setting_changes_the_loss(name, setting):
    default = inspect.signature(LOSSES[name]).parameters[setting].default
    others = {bool: not default, float: 0.3, str: {"image": "batch", "relu": "elu", "present": "all"}.get(default)}
    other = {"pixels": 9, "class_weights": {"a": 3.0}}.get(setting, others.get(type(default), 0.3))
    beside = {"border": 10.0} if setting == "sigma" else {}
    classes = Classes(("a", "b"))
    z, y, valid = random_batch(c=2)
    changed = value(build_loss(name, classes, **beside, **{setting: other}), z, y, valid)
    assert abs(value(build_loss(name, classes, **beside), z, y, valid) - changed) > 1e-4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bce", {"smoothing": 1.5}, "loss.mask.bce.smoothing: Input should be"),
        ("focal", {"gamma": -1.0}, "loss.mask.focal.gamma: Input should be"),
        ("focal", {"alpha": 2.0}, "loss.mask.focal.alpha: Input should be"),
        ("focal", {"smoothing": float("nan")}, "loss.mask.focal.smoothing: Input should be"),
        ("dice", {"smooth": -0.5}, "loss.mask.dice.smooth: Input should be"),
        ("jaccard", {"smooth": -0.5}, "loss.mask.jaccard.smooth: Input should be"),
        ("tversky", {"alpha": -1.0}, "loss.mask.tversky.alpha: Input should be"),
        ("tversky", {"beta": float("inf")}, "loss.mask.tversky.beta: Input should be"),
        ("tversky", {"gamma": 0.0}, "loss.mask.tversky.gamma: Input should be"),
        ("tversky", {"smooth": -1.0}, "loss.mask.tversky.smooth: Input should be"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, settings, message):
    with pytest.raises(SegfoldError) as error:
        build_loss(name, **settings)
    [found] = settings.values()
    assert str(error.value).startswith(message) and str(error.value).endswith(f", found {found!r}")
