"""Weighted cross-entropy: U-Net's formula by hand and by brute force, and its limits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, label

from loss_cases import Y, Z, random_batch, value, value_and_gradient
from segfold.errors import SegfoldError
from segfold.losses import BCE, WeightedBCE, build_loss
from segfold.losses.weighted import border_weight, gaps_of_parts


def test_the_border_weight_of_the_paper():
    apart = torch.tensor([0.0, 2.0, 5.0, 10.0, 20.0, torch.inf])
    expected = torch.tensor([10, 9.2312, 6.0653, 1.3534, 0.003355, 0])
    torch.testing.assert_close(border_weight(apart, 10, 5), expected, atol=5e-5, rtol=0)


def test_the_common_vector():
    # 3 (0.126928 + 1.313262) + 0.974077 + 0.048587, over 3 + 3 + 1 + 1
    assert value(WeightedBCE(positive=3.0), Z, Y).item() == pytest.approx(0.667904, abs=1e-6)
    one = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    # Half the object's 0.126928, half the mean of 0.313262, 0.974077 and 0.048587.
    assert value(WeightedBCE(balance=True), Z, one).item() == pytest.approx(0.286118, abs=1e-6)


@pytest.mark.parametrize("c", [1, 2])
def test_equal_weights_are_plain_cross_entropy(c):
    z, y, valid = random_batch(c=c)
    for area in (None, valid):
        for soft in (y, 0.2 + 0.6 * y):
            ours, gradient = value_and_gradient(WeightedBCE(), z, soft, area)
            expected, expected_gradient = value_and_gradient(BCE(), z, soft, area)
            torch.testing.assert_close(ours, expected)
            torch.testing.assert_close(gradient, expected_gradient)


def test_the_weight_of_the_object_is_that_of_the_library():
    z, y, valid = random_batch()
    summed = F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(4.0), reduction="none") * valid
    expected = (summed.flatten(1).sum(dim=1) / ((1 + 3 * y) * valid).flatten(1).sum(dim=1)).mean()
    torch.testing.assert_close(value(WeightedBCE(positive=4.0), z, y, valid), expected)


def test_balanced_classes_weigh_alike():
    z, y, valid = random_batch()
    images = []
    for i in range(4):
        inside = valid[i]
        losses = F.binary_cross_entropy_with_logits(z[i], y[i], reduction="none")
        classes = [losses[inside & (y[i] == kind)] for kind in (0, 1)]
        images.append(torch.stack([part.mean() for part in classes if len(part)]).mean())
    torch.testing.assert_close(value(WeightedBCE(balance=True), z, y, valid), torch.stack(images).mean())


def by_brute_force(mark):
    """The sums of the two least distances to objects, pixel by pixel, for the background."""
    labels, count = label(mark == 2, structure=np.ones((3, 3)))
    sums = np.full(mark.shape, np.inf)
    if count > 1:
        distances = np.sort([distance_transform_edt(labels != i) for i in range(1, count + 1)], axis=0)
        sums[mark == 1] = (distances[0] + distances[1])[mark == 1]
    return sums


def test_gaps_equal_brute_force():
    g = np.random.default_rng(0)
    marks = g.choice(3, size=(6, 2, 23, 31), p=[0.1, 0.85, 0.05]).astype(np.uint8)
    found = gaps_of_parts(marks)
    for mark, ours in zip(marks.reshape(-1, 23, 31), found.reshape(-1, 23, 31), strict=True):
        np.testing.assert_allclose(ours, by_brute_force(mark), atol=1e-4)
    assert np.isfinite(found).any()


def test_touching_corners_are_one_object_and_one_object_has_no_border():
    z, y = torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    y[..., 2, 2] = y[..., 3, 3] = 1
    plain, gradient = value_and_gradient(BCE(), z, y)
    ours, ours_gradient = value_and_gradient(WeightedBCE(border=10.0), z, y)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(ours_gradient, gradient)


def test_the_gap_between_two_objects_teaches_most():
    """Two blocks with two columns between them: weights of 1 + w0 exp(-9/50), at d1 + d2 = 1 + 2."""
    y = torch.zeros(1, 1, 8, 14)
    y[..., 0:6], y[..., 8:14] = 1, 1
    _, gradient = value_and_gradient(WeightedBCE(border=10.0), torch.zeros_like(y), y)
    expected = torch.where(y > 0, 1.0, 1 + 10 * torch.exp(torch.tensor(-9 / 50)))
    torch.testing.assert_close(gradient.abs(), 0.5 * expected / expected.sum())


def test_objects_outside_the_valid_area_make_no_border():
    y = torch.zeros(1, 1, 8, 14)
    y[..., 0:6], y[..., 8:14] = 1, 1
    valid = torch.ones(1, 1, 8, 14, dtype=torch.bool)
    valid[..., 8:] = False
    z = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(value(WeightedBCE(border=10.0), z, y, valid), value(BCE(), z, y, valid))


@pytest.mark.parametrize("settings", [{"positive": 0.0}, {"border": -1.0}, {"sigma": 0.0}, {"border": float("nan")}])
def test_settings_that_cannot_be_are_refused(settings):
    [(name, _)] = settings.items()
    with pytest.raises(SegfoldError, match=rf"^loss\.mask\.weighted\.{name}: Input should be [^\n]*$"):
        build_loss("weighted", **settings)
