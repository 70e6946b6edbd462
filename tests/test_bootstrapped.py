"""Online bootstrapped cross-entropy: hand-computed values, which pixels teach, and the warm-up."""

import pytest
import torch
import torch.nn.functional as F

from loss_cases import Y, Z, random_batch, value, value_and_gradient
from segfold.errors import SegfoldError
from segfold.losses import BCE, Bootstrapped, StageLoss, build_loss
from segfold.losses.bootstrapped import hardest_mean


@pytest.mark.parametrize(("k", "expected"), [(1, 1.313262), (2, 1.143669), (4, 0.615713), (100, 0.615713)])
def test_the_common_vector(k, expected):
    assert value(Bootstrapped(pixels=k), Z, Y).item() == pytest.approx(expected, abs=1e-6)
    if k <= 4:
        assert value(Bootstrapped(fraction=k / 4), Z, Y).item() == pytest.approx(expected, abs=1e-6)


def test_several_classes_and_ties():
    """The hardest pixels of a softmax cross-entropy, and of losses of which two are equal."""
    z = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 1, 1]])
    entropy = F.cross_entropy(z, torch.tensor([0, 0, 2, 1]), reduction="none").reshape(1, 1, 4)
    assert hardest_mean(entropy, lambda n: n.clamp(max=2)).item() == pytest.approx(1.325028, abs=1e-6)
    assert hardest_mean(entropy, lambda n: n).item() == pytest.approx(0.746131, abs=1e-6)
    tied = torch.tensor([0.0, 2.0, 0.0, 1.0]).reshape(1, 1, 4).requires_grad_()
    mean = hardest_mean(tied, lambda n: n.clamp(max=3))
    assert mean.item() == 1.0
    mean.backward()
    # The two zeros share the third place.
    torch.testing.assert_close(tied.grad.flatten(), torch.tensor([1 / 6, 1 / 3, 1 / 6, 1 / 3]))


def by_sorting(z, y, k, valid=None):
    """Image by image, as FRRN's code: sort, take the last K, mean."""
    means = []
    for i in range(len(z)):
        entropy = F.binary_cross_entropy_with_logits(z[i], y[i], reduction="none").flatten()
        if valid is not None:
            entropy = entropy[valid[i].flatten()]
        means.append(entropy.sort().values[-k(len(entropy)) :].mean())
    return torch.stack(means).mean()


@pytest.mark.parametrize("with_valid", [False, True])
@pytest.mark.parametrize(
    ("settings", "k"),
    [
        ({}, lambda n: round(n / 16)),
        ({"fraction": 0.3}, lambda n: round(0.3 * n)),
        ({"fraction": 1e-6}, lambda n: 1),
        ({"pixels": 5}, lambda n: 5),
        ({"pixels": 50}, lambda n: min(n, 50)),
    ],
)
def test_the_mean_of_the_hardest_by_sorting(settings, k, with_valid):
    z, y, valid = random_batch(h=16, w=13)
    z.requires_grad_()
    valid = valid if with_valid else None
    expected = by_sorting(z, y, k, valid)
    found = value(Bootstrapped(**settings), z, y, valid)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(loss, z)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("k", "below", "expected"),
    [
        (1, 0.3, 1.313262),  # probabilities of the class: 0.880797 0.268941 0.377541 0.952574
        (1, 0.7, 1.143669),  # the mean of 1.313262 and 0.974077
        (1, 0.9, 0.804756),
        (3, 0.7, 0.804756),  # never fewer than K
        (1, 1.0, 0.615713),
    ],
)
def test_every_pixel_below_a_probability_teaches(k, below, expected):
    assert value(Bootstrapped(pixels=k, below=below), Z, Y).item() == pytest.approx(expected, abs=1e-6)


def test_a_fitted_soft_target_is_not_hard():
    """A target of 0.75 with probability 0.75 is easy, however large its cross-entropy; 0.6 is below 0.7."""
    y = torch.tensor([0.75, 0.6, 1.0, 0.0]).reshape(1, 1, 2, 2)
    z = torch.tensor([0.75, 0.6, 0.65, 0.01]).reshape(1, 1, 2, 2).logit()
    _, gradient = value_and_gradient(Bootstrapped(pixels=1, below=0.7), z * 1.001, y)
    assert (gradient != 0).flatten().tolist() == [False, True, True, False]


@pytest.mark.parametrize("below", [0.1, 0.7])
def test_hard_example_mining_as_in_the_code_of_ocnet(below):
    """Image by image: keep what is no likelier than the larger of the bound and the K-th least likely."""
    z, y, valid = random_batch(h=16, w=13)
    means = []
    for i in range(len(z)):
        likely = torch.where(y[i] > 0, z[i].sigmoid(), 1 - z[i].sigmoid())[valid[i]]
        bound = max(below, likely.sort().values[7].item())
        means.append(-likely[likely <= bound].log().mean())
    found = value(Bootstrapped(pixels=8, below=below), z, y, valid)
    torch.testing.assert_close(found, torch.stack(means).mean())


def test_all_pixels_are_plain_cross_entropy():
    z, y, valid = random_batch(c=2)
    for loss in (Bootstrapped(fraction=1.0), Bootstrapped(pixels=10_000)):
        for area in (None, valid):
            ours, gradient = value_and_gradient(loss, z, y, area)
            expected, expected_gradient = value_and_gradient(BCE(), z, y, area)
            torch.testing.assert_close(ours, expected)
            torch.testing.assert_close(gradient, expected_gradient)


def test_easy_pixels_have_no_gradient():
    z, y, _ = random_batch(h=16, w=13)
    _, gradient = value_and_gradient(Bootstrapped(pixels=20), z, y)
    entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none").flatten(1)
    for found, losses in zip(gradient.flatten(1), entropy, strict=True):
        assert (found != 0).sum() == 20
        assert losses[found != 0].min() > losses[found == 0].max()


def test_every_image_keeps_its_own_hardest_pixels():
    """One K for the whole batch would take all of them from the hard image."""
    z, y, _ = random_batch(h=8, w=8)
    z[0] = (1 - 2 * y[0]) * 50 + z[0]  # wrong everywhere
    _, gradient = value_and_gradient(Bootstrapped(pixels=8), z, y)
    assert ((gradient != 0).flatten(1).sum(dim=1) == 8).all()


def test_equal_pixels_share_alike():
    """At the start all logits are equal: no pixel is preferred for its place in memory."""
    z, y = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    _, gradient = value_and_gradient(Bootstrapped(pixels=4), z, y)
    torch.testing.assert_close(gradient, torch.full_like(z, 0.5 / 64))


@pytest.mark.parametrize("settings", [{"pixels": 4}, {"fraction": 4 / 64}])
def test_warm_up_begins_with_all_pixels(settings):
    z, y, _ = random_batch(h=8, w=8)
    loss = Bootstrapped(**settings, warmup=0.5)
    for done, k in ((0.0, 64), (0.25, 34), (0.5, 4), (0.8, 4), (1.0, 4)):
        torch.testing.assert_close(value(loss.at(done), z, y), by_sorting(z, y, lambda n, k=k: k))
    torch.testing.assert_close(value(loss, z, y), value(BCE(), z, y))
    cold = Bootstrapped(**settings)
    assert value(cold, z, y) == value(cold.at(0.0), z, y) == value(loss.at(0.5), z, y)


def test_a_stage_moves_the_warm_up():
    z, y, _ = random_batch(h=8, w=8)
    stage = StageLoss({"bootstrapped": (2.0, {"pixels": 4, "warmup": 0.5}), "dice": (1.0, {})})
    for done, k in ((0.0, 64), (0.25, 34), (1.0, 4)):
        _, parts = stage.at(done)(z, {}, y)
        torch.testing.assert_close(parts["bootstrapped"], by_sorting(z, y, lambda n, k=k: k))
    _, parts = stage(z, {}, y)
    torch.testing.assert_close(parts["bootstrapped"], value(BCE(), z, y))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pixels": 0}, "loss.mask.bootstrapped.pixels: Input should be"),
        ({"fraction": 0.0}, "loss.mask.bootstrapped.fraction: Input should be"),
        ({"fraction": 1.5}, "loss.mask.bootstrapped.fraction: Input should be"),
        ({"below": 1.5}, "loss.mask.bootstrapped.below: Input should be"),
        ({"warmup": -0.1}, "loss.mask.bootstrapped.warmup: Input should be"),
        ({"pixels": 5, "fraction": 0.5}, "loss.mask.bootstrapped.pixels is 5 and fraction is 0.5: give one of the two"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SegfoldError) as error:
        build_loss("bootstrapped", **settings)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
