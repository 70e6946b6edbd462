"""Losses of several classes against hand-computed numbers, another library, and brute force."""

from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch.losses as smp
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from loss_cases import value, value_and_gradient
from segfold.losses import Bootstrapped, Classes, Focal, HeadTerm, StageLoss, WeightedBCE, combine
from segfold.losses.classes import log_odds, one_hot

THREE = ("sky", "road", "car")
EXCLUSIVE = Classes(THREE, exclusive=True)


def batch(n: int = 4, h: int = 9, w: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 3, h, w, generator=g) * 2
    index = torch.randint(0, 3, (n, 1, h, w), generator=g)
    return z, index, torch.rand(n, 1, h, w, generator=g) < 0.7


def of_stage(name: str, settings: dict[str, Any], z: Tensor, target: Tensor, valid: Tensor | None = None) -> Any:
    z = z.clone().requires_grad_()
    total, _ = StageLoss({name: (1.0, settings)}, classes=THREE, exclusive=True)(z, {}, target, valid)
    total.backward()
    return total.detach(), z.grad


# ---- the logits of each class against the rest ----


def test_log_odds_are_those_of_the_softmax() -> None:
    z = torch.randn(5, 4, 30, generator=torch.Generator().manual_seed(0)).double() * 6
    p = z.softmax(dim=1)
    torch.testing.assert_close(log_odds(z).sigmoid(), p)
    others = [torch.cat([z[:, :c], z[:, c + 1 :]], dim=1).logsumexp(dim=1) for c in range(4)]
    torch.testing.assert_close(log_odds(z), z - torch.stack(others, dim=1))
    assert torch.autograd.gradcheck(log_odds, z[:1, :, :8].clone().requires_grad_())


def test_log_odds_of_sure_pixels_are_exact() -> None:
    """Where a probability is 1 to the last digit its complement is still the sum of the others."""
    z = torch.tensor([[40.0, 1, 0], [500, 0, -500], [0, 0, 0], [3, 3, -90]])[..., None].requires_grad_()
    odds = log_odds(z)
    wide = z.detach().double()
    others = [torch.cat([wide[:, :c], wide[:, c + 1 :]], dim=1).logsumexp(dim=1) for c in range(3)]
    torch.testing.assert_close(odds, (wide - torch.stack(others, dim=1)).float())
    odds[0, 0, 0].backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad[0, :, 0], torch.tensor([1.0, -0.731059, -0.268941]))


def test_two_logits_have_their_difference() -> None:
    z = torch.randn(3, 2, 50, generator=torch.Generator().manual_seed(0)) * 10
    difference = z[:, 1] - z[:, 0]
    torch.testing.assert_close(log_odds(z), torch.stack([-difference, difference], dim=1), atol=2e-6, rtol=1e-6)


def test_one_class_excludes_none() -> None:
    z = torch.zeros(1, 1, 2, 2)
    for name in ("dice", "ce"):
        with pytest.raises(ValueError, match="logits"):
            StageLoss({name: (1.0, {})}, exclusive=True)(z, {}, z)


# ---- against segmentation_models_pytorch ----


@pytest.mark.parametrize("with_valid", [False, True])
@pytest.mark.parametrize(
    ("name", "settings", "library", "theirs"),
    [
        ("dice", {"mode": "batch", "smooth": 0.0}, "DiceLoss", {}),
        ("dice", {"mode": "batch", "smooth": 1.0}, "DiceLoss", {"smooth": 0.5}),
        ("jaccard", {"mode": "batch", "smooth": 1.0}, "JaccardLoss", {"smooth": 1.0}),
        (
            "tversky",
            {"mode": "batch", "alpha": 0.3, "beta": 0.7},
            "TverskyLoss",
            {"alpha": 0.3, "beta": 0.7, "smooth": 1.0},
        ),
        ("lovasz_softmax", {}, "LovaszLoss", {"per_image": True}),
        ("lovasz_softmax", {"per_image": False}, "LovaszLoss", {"per_image": False}),
    ],
)
def test_values_and_gradients_of_the_library(
    name: str, settings: dict[str, Any], library: str, theirs: dict[str, Any], with_valid: bool
) -> None:
    z, index, valid = batch()
    target = index[:, 0]
    if with_valid:
        target, theirs = target.masked_fill(~valid[:, 0], 255), {**theirs, "ignore_index": 255}
    found, gradient = of_stage(name, settings, z, index, valid if with_valid else None)
    own = (z if library == "LovaszLoss" else z.double()).clone().requires_grad_()
    expected = getattr(smp, library)("multiclass", **theirs)(own, target)
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradient, own.grad.float(), atol=1e-7, rtol=1e-4)  # type: ignore[union-attr]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_the_library(smoothing: float) -> None:
    """Its smoothing leaves each of C classes ε/C, as ours."""
    z, index, _ = batch()
    found, gradient = of_stage("ce", {"smoothing": smoothing}, z, index)
    own = z.clone().requires_grad_()
    expected = smp.SoftCrossEntropyLoss(smooth_factor=smoothing)(own, index[:, 0])
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(gradient, own.grad, atol=1e-7, rtol=1e-4)


# ---- pixels: focal, bootstrapped, weighted ----


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_the_formula_on_the_softmax(gamma: float) -> None:
    z, index, valid = batch()
    own = z.double().requires_grad_()
    p = own.softmax(dim=1).gather(1, index)
    losses = -((1 - p) ** gamma) * p.log()
    expected = torch.stack([losses[i][valid[i]].mean() for i in range(4)]).mean()
    expected.backward()
    for target in (index, one_hot(index, 3)):
        found, gradient = value_and_gradient(Focal(gamma=gamma).among(EXCLUSIVE), z, target, valid)
        torch.testing.assert_close(found, expected.float())
        torch.testing.assert_close(gradient, own.grad.float(), atol=1e-7, rtol=1e-4)  # type: ignore[union-attr]


def test_focal_of_smoothed_and_weighted_labels_is_the_mix_of_the_classes() -> None:
    z, index, _ = batch()
    p, vector = z.double().softmax(dim=1), torch.tensor([1.0, 4.0, 0.5]).double()
    y = one_hot(index, 3) * 0.7 + 0.1
    losses = -(vector[:, None, None] * y * (1 - p) ** 2 * p.log()).sum(dim=1).flatten(1).sum(dim=1)
    expected = (losses / vector[index].flatten(1).sum(dim=1)).mean()
    loss = Focal(smoothing=0.3, class_weights={"road": 4, "car": 0.5}).among(EXCLUSIVE)
    torch.testing.assert_close(value(loss, z, index), expected.float())


@pytest.mark.parametrize(("k", "expected"), [(2, 1.325028), (4, 0.746131)])
def test_the_hardest_pixels_of_several_classes(k: int, expected: float) -> None:
    z = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 1, 1]]).T.reshape(1, 3, 2, 2)
    index = torch.tensor([0, 0, 2, 1]).reshape(1, 1, 2, 2)
    loss = Bootstrapped(pixels=k).among(EXCLUSIVE)
    assert value(loss, z, index).item() == pytest.approx(expected, abs=1e-6)
    assert value(loss, z, one_hot(index, 3)).item() == pytest.approx(expected, abs=1e-6)


def test_hardest_pixels_by_sorting_with_weights_and_a_bound() -> None:
    z, index, valid = batch()
    weights = torch.tensor([1.0, 4.0, 0.5])
    hardest, mined = [], []
    for i in range(4):
        inside = valid[i, 0]
        logits, label = z[i][:, inside].T, index[i, 0][inside]
        losses = F.cross_entropy(logits, label, weights, reduction="none")
        order = losses.argsort(descending=True)[:8]
        hardest.append(losses[order].sum() / weights[label][order].sum())
        plain = F.cross_entropy(logits, label, reduction="none")
        below = logits.softmax(dim=1).gather(1, label[:, None])[:, 0] < 0.6
        below[plain.argsort(descending=True)[:8]] = True
        mined.append(plain[below].mean())
    found = value(Bootstrapped(pixels=8, class_weights={"road": 4, "car": 0.5}).among(EXCLUSIVE), z, index, valid)
    torch.testing.assert_close(found, torch.stack(hardest).mean())
    found = value(Bootstrapped(pixels=8, below=0.6).among(EXCLUSIVE), z, index, valid)
    torch.testing.assert_close(found, torch.stack(mined).mean())


def test_balanced_classes_weigh_alike() -> None:
    """The mean over the classes of an image, each that is there, of their mean losses."""
    z, index, valid = batch()
    index[1] = index[1].clamp(max=1)
    images = []
    for i in range(4):
        losses = F.cross_entropy(z[[i]], index[[i], 0], reduction="none")[0]
        parts = [losses[valid[i, 0] & (index[i, 0] == c)] for c in range(3)]
        images.append(torch.stack([part.mean() for part in parts if len(part)]).mean())
    found = value(WeightedBCE(balance=True).among(EXCLUSIVE), z, index, valid)
    torch.testing.assert_close(found, torch.stack(images).mean())


def test_a_class_that_is_nowhere_changes_no_weight() -> None:
    """Neither present nor predicted, it leaves the balance and the border of the other two as they are for one logit."""
    index = torch.zeros(1, 1, 8, 14, dtype=torch.int64)
    index[..., 1:5], index[..., 8:12] = 1, 1
    z, _, _ = batch(n=1, h=8, w=14)
    z[:, 2] = -1000
    loss = WeightedBCE(balance=True, border=10)
    found = value(loss.among(Classes(THREE, exclusive=True, background=0)), z, index)
    torch.testing.assert_close(found, value(loss, z[:, 1:2] - z[:, :1], index.float()))


def test_borders_lie_in_the_background_between_objects_of_any_class() -> None:
    """Weights of 1 + w0 exp(-(d1 + d2)² / 2σ²) from the two nearest parts of what is not class 1."""
    index = torch.ones(1, 1, 12, 16, dtype=torch.int64)
    index[..., 1:5, 1:4], index[..., 6:11, 6:9], index[..., 2:6, 12:15] = 0, 2, 2
    parts = [index[0, 0, :, :5] == 0, index[0, 0, :, 5:10] == 2, index[0, 0, :, 10:] == 2]
    whole = torch.zeros(3, 12, 16, dtype=torch.bool)
    for plane, part, start in zip(whole, parts, (0, 5, 10), strict=True):
        plane[:, start : start + part.shape[1]] = part
    distances = np.sort([distance_transform_edt(~plane.numpy()) for plane in whole], axis=0)
    gap = torch.from_numpy(distances[0] + distances[1])
    weight = 1 + 10 * torch.where(index[0, 0] == 1, (-(gap**2) / 18).exp(), 0.0)
    z, _, _ = batch(n=1, h=12, w=16)
    losses = F.cross_entropy(z, index[:, 0], reduction="none")[0]
    loss = WeightedBCE(border=10, sigma=3).among(Classes(THREE, exclusive=True, background=1))
    torch.testing.assert_close(
        value(loss, z, index), ((losses * weight).sum() / weight.sum()).float(), rtol=1e-4, atol=0
    )


# ---- images, heads, and what is not computed ----


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("background", "expected"), [(None, [1, 1, 1, 0]), (0, [0, 1, 0, 0]), (2, [1, 1, 1, 0])])
def test_an_image_is_filled_by_what_is_valid_and_not_background(
    background: int | None, expected: list[float], soft: bool
) -> None:
    index = torch.zeros(4, 1, 3, 3, dtype=torch.int64)
    index[1, 0, 1, 1], index[2, 0, 0, 0] = 2, 1
    valid = torch.ones(4, 1, 3, 3, dtype=torch.bool)
    valid[2, 0, 0, 0], valid[3] = False, False
    loss = StageLoss({"ce": (1.0, {})}, {"image": HeadTerm(1.0)}, classes=THREE, exclusive=True, background=background)
    target = 0.9 * one_hot(index, 3) + 0.1 / 3 if soft else index
    logits = torch.tensor(expected)[:, None] * 200.0 - 100
    assert loss(torch.zeros(4, 3, 3, 3), {"image": logits}, target, valid)[1]["image"] < 1e-6


def test_heads_have_the_losses_of_the_mask_over_filled_images() -> None:
    z, index, valid = batch()
    index[0] = 0
    levels = torch.stack([z, z.flip(0), -z], dim=1)
    mask: dict[str, tuple[float, dict[str, Any]]] = {"ce": (1.0, {}), "lovasz": (2.0, {"activation": "elu"})}
    loss = StageLoss(mask, {"levels": HeadTerm(0.5)}, classes=THREE, exclusive=True, background=0)
    total, parts = loss(z, {"levels": levels}, index, valid)
    plain = StageLoss(mask, classes=THREE, exclusive=True)
    expected = sum(plain(levels[1:, i], {}, index[1:], valid[1:])[0] for i in range(3))
    torch.testing.assert_close(parts["levels"], expected)
    torch.testing.assert_close(total, plain(z, {}, index, valid)[0] + 0.5 * expected)


def test_nothing_is_made_that_no_loss_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for name in ("log_odds", "one_hot"):
        plain = getattr(combine, name)
        monkeypatch.setattr(combine, name, lambda *given, name=name, plain=plain: made.append(name) or plain(*given))
    z, index, _ = batch()
    levels = torch.stack([z, -z], dim=1)
    ramp = {"ce": (1.0, {}), "dice": (0.0, {})}
    loss = StageLoss(ramp, {"levels": HeadTerm(0.1)}, {"dice": 1.0}, classes=THREE, exclusive=True)
    loss(z, {"levels": levels}, index)
    assert made == []
    two = StageLoss({"bce": (1.0, {}), "dice": (1.0, {})}, {"levels": HeadTerm(0.1)}, classes=THREE, exclusive=True)
    two(z, {"levels": levels}, index)
    assert made == ["one_hot", "log_odds", "log_odds", "log_odds"]
    made.clear()
    StageLoss({"bce": (1.0, {}), "dice": (1.0, {})}, classes=THREE)(z, {}, one_hot(index, 3))
    assert made == []
